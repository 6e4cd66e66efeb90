"""What runs an exported model, and which texts share a batch.

Whether ONNX Runtime runs here or behind a server makes no difference to those who compare.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .cases import Ids

Rows = npt.NDArray[np.float32]

_MOST_TEXTS = 32  # in a batch; what config.pbtxt allows as exported
_MOST_SLOTS = 16_384  # texts times the longest of them: bounds the memory of attention on a CPU


@dataclass(frozen=True, slots=True, eq=False)
class Together:
    """Texts run at once.

    Attributes:
        rows: float32 `[batch, width]`.
        shared: How many of them are known to have run in a batch with others.
    """

    rows: Rows
    shared: int


class Runner(Protocol):
    """Runs token ids through an exported model. A row is the model's outputs, one after another."""

    def alone(self, ids: Ids) -> Rows:
        """Run one text; float32 `[1, width]`."""

    def together(self, batch: Sequence[Ids]) -> Together:
        """Run texts of different lengths in one batch."""

    def close(self) -> None:
        """Release the model."""


def mixed_batches(lengths: Sequence[int], *, seed: int = 0) -> list[list[int]]:
    """Divide texts among batches of at least two, whatever their lengths; the same way every time.

    Args:
        lengths: Tokens of each text.
        seed: Of the shuffle.

    Returns:
        For each batch the indices of its texts. Every text is in one; text 0 may be in a second.
    """
    order = list(range(len(lengths)))
    random.Random(seed).shuffle(order)  # noqa: S311 - not for secrets
    batches: list[list[int]] = [[]]
    for index in order:
        batch = batches[-1]
        slots = max(lengths[i] for i in [*batch, index]) * (len(batch) + 1)
        if len(batch) == _MOST_TEXTS or (len(batch) >= 2 and slots > _MOST_SLOTS):
            batches.append([index])
        else:
            batch.append(index)
    if len(batches[-1]) == 1:
        batches[-1].append(0 if batches[-1] != [0] else 1)
    return batches
