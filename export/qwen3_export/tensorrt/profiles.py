"""Optimisation profiles: the ranges of shapes that a TensorRT plan can run, and the shape that each is tuned for.

TensorRT reserves memory for the largest shape of a profile. With a single profile up to the most texts of the longest
length, it would reserve memory for a batch that never comes, because the padding front limits the positions of a padded
batch (texts x columns). So there are several profiles, each for a quarter of the texts of the one before and for longer
texts. Knows nothing about TensorRT itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ExportError

# The default limits of a plan.
MAX_BATCH = 32
MAX_TOKENS = 8192
MAX_SLOTS = 16_384

_STEP = 4
_QUERY_TOKENS = 512  # longest text of the profile for one short text
_TYPICAL_QUERY_TOKENS = 32

Shape = tuple[int, int]  # texts, columns


@dataclass(frozen=True, slots=True)
class Limits:
    """Which padded batches a plan can run.

    Attributes:
        max_batch: Most texts of a batch.
        max_tokens: Longest text.
        max_slots: Most positions of a batch, padding included: texts times the longest text. A single text may be
            longer. The name is that of `--max-slots` and of the padding front's parameter.
    """

    max_batch: int = MAX_BATCH
    max_tokens: int = MAX_TOKENS
    max_slots: int = MAX_SLOTS

    def __post_init__(self) -> None:
        if min(self.max_batch, self.max_tokens) < 1:
            raise ExportError("a plan needs at least one text of one token: --max-batch 1 --max-tokens 1")
        if self.max_slots < self.max_batch:
            raise ExportError(
                f"{self.max_batch} texts of one token each need more than {self.max_slots} positions; raise "
                "--max-slots, or lower --max-batch"
            )


@dataclass(frozen=True, slots=True)
class Profile:
    """One range of shapes `(texts, columns)`, which begins at 1 x 1.

    Attributes:
        best: The shape that TensorRT tunes for.
        most: The largest shape.
    """

    best: Shape
    most: Shape


def profiles(limits: Limits) -> list[Profile]:
    """Choose the profiles of a plan: one for a single short text, and some from many short texts to few long ones.

    Every batch within the limits is in at least one of them.
    """
    query = min(_QUERY_TOKENS, limits.max_tokens)
    found = [Profile(best=(1, min(_TYPICAL_QUERY_TOKENS, query)), most=(1, query))]
    texts = limits.max_batch
    while texts >= 1:
        fewer = texts // _STEP
        # The next profile covers up to `fewer` texts, so this one needs the length at which `fewer + 1` texts reach
        # the limit. A single text may have any length.
        longest = limits.max_tokens if fewer == 0 else min(limits.max_tokens, limits.max_slots // (fewer + 1))
        found.append(Profile(best=(texts, min(longest, max(1, limits.max_slots // texts))), most=(texts, longest)))
        texts = fewer
    return found
