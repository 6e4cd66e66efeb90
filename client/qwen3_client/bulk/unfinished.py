"""The finished texts of blocks that are not finished, so that little is lost when a job is stopped within a block.

The longest texts of a block are sent first, so its texts do not finish in the order of the corpus, and their vectors
are kept with their row numbers. A resumed job embeds the other texts of the block, and then keeps the finished block in
place of them. So the output does not depend on when the job was stopped. This module knows nothing about how texts are
embedded.
"""

import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .corpus import Block
from .output import ARITHMETIC_KEY
from .parts import Parts
from .vector_lists import vector_lists

COMMIT_S = 25.0  # together with the seconds between two calls of `commit_if_due`, less than 30

_ROW, _VECTOR = "row", "vector"


class UnfinishedBlocks:
    """The vectors of finished texts, kept in memory and then as pieces among the parts of a job.

    Args:
        parts: the parts of the job.
        arithmetic: what `arithmetic_of` returned for the server. Pieces that another server made are not used, so that
            a block is of one.
        commit_s: seconds after which the vectors in memory are written to the disk.
        clock: returns the time in seconds.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        arithmetic: str | None = None,
        commit_s: float = COMMIT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parts = parts
        self._arithmetic = (arithmetic or "").encode()
        self._commit_s = commit_s
        self._clock = clock
        self._committed = clock()
        self._waiting: dict[int, list[tuple[list[int], NDArray[np.float32]]]] = {}  # by the first row of the block

    def restore(self, block: Block) -> dict[int, NDArray[np.float32]]:
        """Return the vectors that an earlier run kept, float32 `[dimensions]`, by the indices of their texts."""
        indices = {row: index for index, row in enumerate(block.rows)}
        found: dict[int, NDArray[np.float32]] = {}
        for table in self._parts.pieces(block.start):
            if (table.schema.metadata or {}).get(ARITHMETIC_KEY, b"") != self._arithmetic:
                continue
            vectors = table[_VECTOR].combine_chunks().flatten().to_numpy().reshape(table.num_rows, -1)
            found |= {indices[row]: vector for row, vector in zip(table[_ROW].to_pylist(), vectors, strict=True)}
        return found

    def keep(self, block: Block, indices: list[int], vectors: NDArray[np.float32]) -> None:
        """Keep the vectors of finished texts of a block, in memory until `commit`.

        Args:
            block: the block.
            indices: indices of the texts in the block.
            vectors: float32 `[n, dimensions]`.
        """
        self._waiting.setdefault(block.start, []).append(([block.rows[index] for index in indices], vectors))

    def commit_if_due(self) -> None:
        """Commit if `commit_s` seconds have passed since the last time.

        Raises:
            OSError: a file cannot be written.
        """
        if self._clock() - self._committed >= self._commit_s:
            self.commit()

    def finished(self, block: Block) -> None:
        """Forget the texts of a block, because the whole block is among the parts."""
        self._waiting.pop(block.start, None)
        self._committed = self._clock()

    def commit(self) -> None:
        """Write all vectors in memory to the disk. They are there when this returns.

        Raises:
            OSError: a file cannot be written.
        """
        for start, kept in list(self._waiting.items()):
            vectors = np.concatenate([vectors for _, vectors in kept])
            column = vector_lists(vectors)
            rows = pa.array([row for rows, _ in kept for row in rows], pa.int64())
            table = pa.table([rows, column], names=[_ROW, _VECTOR])
            self._parts.add_piece(table.replace_schema_metadata({ARITHMETIC_KEY: self._arithmetic}), start=start)
            del self._waiting[start]
        self._committed = self._clock()
