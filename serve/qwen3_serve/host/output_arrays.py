"""The outputs of an exported graph: their names, and arrays to hold them. Knows nothing about inputs and batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


class OutputArrays:
    """The outputs that a session computes for each text.

    Args:
        outputs: The outputs as an ONNX Runtime session describes them, `[batch, size]` each.

    Attributes:
        sizes: The size of each, by its name, in the session's order.
    """

    def __init__(self, outputs: Sequence[Any]) -> None:
        self.sizes: Mapping[str, int] = {output.name: output.shape[1] for output in outputs}
        # All are float32 but the fingerprint, which is int64.
        self._types = {output.name: np.int64 if output.type == "tensor(int64)" else np.float32 for output in outputs}

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, in the session's order."""
        return tuple(self.sizes)

    def empty(self, texts: int) -> list[npt.NDArray[Any]]:
        """Return an array for each output, `[texts, size]`: FP32, and INT64 for the fingerprint."""
        return [np.empty((texts, size), self._types[name]) for name, size in self.sizes.items()]
