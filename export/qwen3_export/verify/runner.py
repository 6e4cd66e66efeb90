"""The interface of what runs an exported model, on this machine or on a server; and how texts are divided into batches.

A row is the result of one text: the model's outputs, one after another.
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

_MOST_TEXTS = 32  # texts in a batch, which every configuration allows as it is exported
_MOST_POSITIONS = 16_384  # texts times the longest text, which bounds the memory of attention on a CPU


@dataclass(frozen=True, slots=True, eq=False)
class Together:
    """The result of texts that were run together.

    Attributes:
        rows: float32 `[batch, row_size]`.
        shared: How many of them are known to have run in a batch with others.
    """

    rows: Rows
    shared: int


class Runner(Protocol):
    """Runs token ids through an exported model."""

    def alone(self, ids: Ids) -> Rows:
        """Run one text; returns float32 `[1, row_size]`."""

    def together(self, batch: Sequence[Ids]) -> Together:
        """Run texts of different lengths in one batch."""

    def close(self) -> None:
        """Release the model."""


def mixed_batches(lengths: Sequence[int], *, seed: int = 0) -> list[list[int]]:
    """Divide texts of any lengths into batches of at least two texts.

    Args:
        lengths: Tokens of each text.
        seed: Seed of the shuffle; the same seed gives the same batches.

    Returns:
        The indices of each batch's texts. Every text is in one batch; text 0 or 1 may be in a second one.
    """
    order = list(range(len(lengths)))
    random.Random(seed).shuffle(order)  # noqa: S311 - not for secrets
    batches: list[list[int]] = [[]]
    for index in order:
        batch = batches[-1]
        positions = max(lengths[i] for i in [*batch, index]) * (len(batch) + 1)
        if len(batch) == _MOST_TEXTS or (len(batch) >= 2 and positions > _MOST_POSITIONS):
            batches.append([index])
        else:
            batch.append(index)
    if len(batches[-1]) == 1:
        batches[-1].append(0 if batches[-1] != [0] else 1)
    return batches
