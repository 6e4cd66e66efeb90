"""Optimisation profiles: the ranges of shapes that a TensorRT plan can run, and the shape that each is tuned for.

One range from 1 x 1 to the most texts x the longest text would have TensorRT set memory aside for that corner, where
attention alone is batch x length squared, though no batch ever comes near it: the front keeps texts x width under a
number of slots. So the ranges step down, a quarter of the texts each time. Knows nothing about TensorRT itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ExportError

# What a plan covers unless the user says otherwise.
MAX_BATCH = 32
MAX_TOKENS = 8192
MAX_SLOTS = 16_384

_STEP = 4
_QUERY_TOKENS = 512  # most tokens of the profile for one short text
_TYPICAL_QUERY_TOKENS = 32

Shape = tuple[int, int]  # texts, width


@dataclass(frozen=True, slots=True)
class Limits:
    """What padded batches a plan can run.

    Attributes:
        max_batch: Most texts of a batch.
        max_tokens: Longest text.
        max_slots: Most places for tokens, texts times the longest; a single text may be longer.
    """

    max_batch: int = MAX_BATCH
    max_tokens: int = MAX_TOKENS
    max_slots: int = MAX_SLOTS

    def __post_init__(self) -> None:
        if min(self.max_batch, self.max_tokens) < 1:
            raise ExportError("a plan needs at least one text of one token: --max-batch 1 --max-tokens 1")
        if self.max_slots < self.max_batch:
            raise ExportError(
                f"{self.max_batch} texts do not fit into {self.max_slots} slots even with one token each; "
                "give --max-slots more, or --max-batch fewer"
            )


@dataclass(frozen=True, slots=True)
class Profile:
    """One range of shapes `(texts, width)`; its least is 1 x 1.

    Attributes:
        best: What TensorRT tunes for.
        most: The largest.
    """

    best: Shape
    most: Shape


def profiles(limits: Limits) -> list[Profile]:
    """The profiles of a plan: one for a single short text, then from many short texts to few long ones.

    Every batch within the limits lies in at least one of them.
    """
    query = min(_QUERY_TOKENS, limits.max_tokens)
    found = [Profile(best=(1, min(_TYPICAL_QUERY_TOKENS, query)), most=(1, query))]
    texts = limits.max_batch
    while texts >= 1:
        fewer = texts // _STEP
        # The fewest texts that only this range is for may be the widest; one text alone may have any width.
        widest = limits.max_tokens if fewer == 0 else min(limits.max_tokens, limits.max_slots // (fewer + 1))
        found.append(Profile(best=(texts, min(widest, max(1, limits.max_slots // texts))), most=(texts, widest)))
        texts = fewer
    return found
