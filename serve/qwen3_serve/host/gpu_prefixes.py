"""The prefix cache on a GPU: a table of rows that never leaves the GPU's memory.

The index of `prefix_cache` finds prefixes, as on a CPU. The rows are the graph's own output: a run that computes new
ones also returns the next table, made of rows of the last one and of its own, and the host only says which row goes
where. What a batch needs of the table, the graph copies.

Whether prefixes are worth it depends on how many tokens they save, because a GPU hardly notices a few. This module
knows token ids and rows, and nothing about sessions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .prefix_cache import Ids, Prefix, PrefixIndex, common

# The tokens whose computation takes as long as ... These are for 0.6B on an H100, by bench.gpu.model; nothing was
# measured. For larger models and slower GPUs they are a third of it, and there a smaller batch could gain already.
_LEADER_TOKENS = 1024  # ... a run of the leaders alone, which waits for its launches
_COPY_TOKENS = 256  # ... the launches that copy prefixes into pages
Inputs = dict[str, npt.NDArray[np.int64]]


class GpuPrefixes:
    """The index, and the table as the session returned it.

    Args:
        tokens: Number of tokens whose rows fit in; 0 for no cache.
    """

    def __init__(self, *, tokens: int) -> None:
        self._index = PrefixIndex(tokens=tokens)
        self._rows = 0  # of the table
        self.table: Any = None  # an OrtValue `[rows, size]` on the GPU, in the graph's working type; None for no rows

    def of(self, texts: Sequence[Ids]) -> list[Prefix]:
        """Return the longest cached prefix of each text, never with its last token; none if they save too little."""
        prefixes = [self._index.longest(ids) for ids in texts]
        saved = sum(prefix.length for prefix in prefixes)
        return prefixes if saved >= _COPY_TOKENS else [Prefix(0, 0)] * len(texts)

    def choose_leaders(self, texts: Sequence[Ids], *, max_texts: int, max_tokens: int) -> dict[int, int]:
        """Remember texts, and choose some to run in a batch of their own before the others, where that saves time.

        Args:
            texts: The texts of all batches that are to run.
            max_texts: Most leaders.
            max_tokens: Most tokens of all leaders.

        Returns:
            The indices of the leaders, each with the number of its first tokens whose rows are kept.
        """
        leaders = self._index.choose_leaders(texts)
        saved = dict.fromkeys(leaders, 0)
        for index, ids in enumerate(texts) if leaders else ():
            if index not in leaders:
                lengths = {leader: common(texts[leader][:length], ids[:-1]) for leader, length in leaders.items()}
                best = max(lengths, key=lengths.__getitem__)
                saved[best] += max(0, lengths[best] - self._index.longest(ids).length)
        chosen: dict[int, int] = {}
        tokens = 0
        for leader in sorted(leaders, key=saved.__getitem__, reverse=True):
            size = texts[leader].size
            if saved[leader] > 0 and tokens + size <= max_tokens and len(chosen) < max_texts:
                chosen[leader] = leaders[leader]
                tokens += size
        return chosen if sum(saved[leader] for leader in chosen) >= _LEADER_TOKENS else {}

    def inputs(self, prefixes: Sequence[Prefix]) -> Inputs:
        """Return the graph's inputs for the prefixes of a batch's texts, besides the table; nothing without any."""
        if not any(prefix.length for prefix in prefixes):
            return {}
        return {
            "prefix_starts": np.array([[prefix.start] for prefix in prefixes], np.int64),
            "prefix_lengths": np.array([[prefix.length] for prefix in prefixes], np.int64),
        }

    def keeping(self, texts: Sequence[Ids], prefixes: Sequence[Prefix], lengths: Sequence[int]) -> Inputs:
        """Return the graph's inputs with which it returns the next table.

        Args:
            texts: The texts of the batch, prefixes included.
            prefixes: What the cache has of each of them.
            lengths: The number of first tokens of each whose rows are kept.
        """
        keep: list[npt.NDArray[np.int64]] = []
        starts = self._index.starts(lengths)
        size = max(self._rows, *(start + length for start, length in zip(starts, lengths, strict=True)))
        arrange = np.arange(size)
        row = kept = 0
        for ids, prefix, start, length in zip(texts, prefixes, starts, lengths, strict=True):
            new = length - prefix.length
            keep.append(row + np.arange(new))
            arrange[start : start + prefix.length] = prefix.start + np.arange(prefix.length)
            arrange[start + prefix.length : start + length] = self._rows + kept + np.arange(new)
            row += ids.size - prefix.length
            kept += new
        return {"keep": np.concatenate(keep), "arrange": arrange}

    def replace(self, table: Any, kept: Sequence[Ids], *, rows: int) -> None:  # noqa: ANN401 - an OrtValue
        """Take the table that a run with `keeping` has returned.

        Args:
            table: The table.
            kept: The token ids of each prefix in it that is new.
            rows: Its rows.
        """
        for ids in kept:
            self._index.add(ids)
        self.table, self._rows = table, rows
