"""What all engines of the embedded host have in common. Knows nothing about Triton, text or devices."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy.typing as npt

from .output_arrays import OutputArrays
from .prefix_cache import Ids

Results = Sequence[npt.NDArray[Any]]  # one array `[texts, size]` for each output


class Engine(ABC):
    """A session on an exported graph, and the way in which texts are divided into packed batches for it."""

    _outputs: OutputArrays  # of the session; set when an engine is made

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs, in the order of the results."""
        return self._outputs.names

    def empty(self, texts: int) -> Results:
        """Return arrays for the results of so many texts: FP32, and INT64 for the fingerprint."""
        return self._outputs.empty(texts)

    @abstractmethod
    def fill(self, results: Results, texts: Sequence[Ids]) -> Iterator[Sequence[int]]:
        """Run texts, one packed batch after another.

        Args:
            results: From `empty`; row i of each array gets the output of text i.
            texts: The token ids of each text, INT64 `[n_i]`, all of which the model takes.

        Yields:
            The indices of a packed batch's texts, once their rows are complete. Each text is in exactly one of them.

        Raises:
            RuntimeError: ONNX Runtime failed, for example for lack of memory.
        """

    def run(self, texts: Sequence[Ids]) -> Results:
        """Run texts, and return the results of all. See `fill`."""
        results = self.empty(len(texts))
        for _ in self.fill(results, texts):
            pass
        return results
