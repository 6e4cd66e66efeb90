"""The integers of a packed batch that a graph with host indices takes: where each text's rows are, and its cache.

It is what `paged_attention` computes in a graph that has its integer part. Knows lengths, and nothing about sessions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

# What the operators read on the processor. All other inputs are on the GPU.
ON_PROCESSOR = ("metadata", "cache_shape")


@dataclass(frozen=True, slots=True)
class IndexLayout:
    """What the graph says about its indices.

    Attributes:
        block: Rows, heads and head size of a block of the cache.
        bounds: How many numbers `metadata` has.
    """

    block: tuple[int, int, int]
    bounds: int

    def of(self, lengths: Sequence[int], pooled: Sequence[int] | None = None) -> Mapping[str, npt.NDArray[Any]]:
        """Return the inputs of a batch by name, all but `ids`.

        Args:
            lengths: How many rows each text has, at least one.
            pooled: The row of each text that is pooled, counted from its first; None for its last row.
        """
        rows = np.asarray(lengths, np.int64)
        ends = np.cumsum(rows)
        starts = ends - rows
        blocks = -(-rows // self.block[0])
        first_block = np.cumsum(blocks) - blocks
        column = np.minimum(np.arange(blocks.max()), blocks[:, None] - 1)  # a text repeats its last block
        last = rows - 1 if pooled is None else np.asarray(pooled, np.int64)
        return {
            "cumulative_lengths": np.concatenate([[0], ends]).astype(np.int32),
            "past_lengths": np.zeros(rows.size, np.int32),
            "block_table": (first_block[:, None] + column).astype(np.int32),
            "pooled_rows": starts + last,
            "metadata": np.full(self.bounds, rows.max(), np.int32),
            "cache_shape": np.array([blocks.sum(), *self.block], np.int64),
        }
