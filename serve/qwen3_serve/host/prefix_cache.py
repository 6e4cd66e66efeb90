"""The prefix cache: prefixes that several texts share are computed once.

An instruction comes before every query, and a reranker's prompt and query before every document. Requests do not mark
these prefixes. So the cache remembers how recent texts began, and once another text begins with the same tokens, the
host keeps the graph's rows (keys and values) of the tokens that they share. The rows of a prefix serve every text that
begins with all of its tokens or with some of them. This module knows token ids and rows, and nothing about graphs.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict, deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
Rows = npt.NDArray[np.float32]

MIN_PREFIX = 8  # tokens; shorter prefixes save less time than they cost
_MAX_BEGINNINGS = 64  # different beginnings of MIN_PREFIX tokens that are remembered ...
_TEXTS_PER_BEGINNING = 32  # ... and the number of recent texts for each of them
_BIG_ENDIAN = np.dtype(">i8")


@dataclass(frozen=True, slots=True)
class Prefix:
    """A prefix of a text whose rows are in the cache.

    Attributes:
        start: Index of its first row in the cache.
        length: Number of its tokens; 0 for no prefix.
    """

    start: int
    length: int


@dataclass(frozen=True, slots=True)
class _Entry:
    beginning: bytes
    ids: Ids
    start: int


class _RecentTexts:
    """The texts that recently began with the same tokens, at most `_TEXTS_PER_BEGINNING` of them."""

    def __init__(self) -> None:
        self._by_age: deque[bytes] = deque()
        # In the order of their ids, in which the text that shares most with another is directly before or after it: so
        # only two are compared, where comparing all took as long as the rest of the host's work on a short text.
        self._in_order: list[bytes] = []

    def add(self, ids: Ids) -> int:
        """Add a text, and return how many of its first tokens one of the others shares."""
        text = ids.astype(_BIG_ENDIAN).tobytes()  # as bytes, these are in the same order as the ids
        index = bisect_right(self._in_order, text)
        neighbours = self._in_order[max(index - 1, 0) : index + 1]
        shared = max((common(np.frombuffer(other, _BIG_ENDIAN), ids) for other in neighbours), default=0)
        self._in_order.insert(index, text)
        self._by_age.append(text)
        if len(self._by_age) > _TEXTS_PER_BEGINNING:
            del self._in_order[bisect_left(self._in_order, self._by_age.popleft())]
        return shared


class PrefixCache:
    """Rows of a bounded number of tokens; new rows replace the oldest.

    Args:
        tokens: Number of tokens whose rows fit in.
        size: Numbers per row: keys and values of all layers.
    """

    def __init__(self, *, tokens: int, size: int) -> None:
        self._rows: Rows = np.zeros((tokens, size), np.float32)  # pages that were never written take no memory
        self._entries: list[_Entry] = []
        self._next = 0  # the row to write next; after the last one comes the first again
        # Recent texts by their first tokens, least recent first.
        self._seen: OrderedDict[bytes, _RecentTexts] = OrderedDict()

    def longest(self, ids: Ids) -> Prefix:
        """Return the longest cached prefix of a text `[n]`. It never includes the text's last token."""
        best = Prefix(0, 0)
        beginning = _beginning(ids)
        for entry in self._entries:
            if entry.beginning != beginning:
                continue
            length = common(entry.ids, ids[:-1])
            if length > best.length:
                best = Prefix(entry.start, length)
        return best

    def rows_of(self, prefix: Prefix) -> Rows:
        """Return a view of a prefix's rows, FP32 `[length, size]`, valid until the next call of `store`."""
        return self._rows[prefix.start : prefix.start + prefix.length]

    def remember(self, ids: Ids) -> int:
        """Remember the beginning of a text.

        Returns:
            How many of its first tokens a recent text shares: at most half of the cache, so that a long text that
            comes twice does not replace everything in it, and never the last token of the text.
        """
        if ids.size <= MIN_PREFIX:
            return 0
        beginning = _beginning(ids)
        texts = self._seen.setdefault(beginning, _RecentTexts())
        self._seen.move_to_end(beginning)
        if len(self._seen) > _MAX_BEGINNINGS:
            self._seen.popitem(last=False)
        return min(texts.add(ids[: self._rows.shape[0] // 2]), ids.size - 1)

    def store(self, ids: Ids, rows: Rows) -> None:
        """Store the rows of a prefix.

        Args:
            ids: Its token ids `[n]`, at least `MIN_PREFIX` and at most as many as the cache holds.
            rows: FP32 `[n, size]`.
        """
        if self._next + ids.size > self._rows.shape[0]:
            self._next = 0
        start, self._next = self._next, self._next + ids.size
        self._entries = [
            entry for entry in self._entries if entry.start >= self._next or entry.start + entry.ids.size <= start
        ]
        self._rows[start : self._next] = rows
        self._entries.append(_Entry(_beginning(ids), ids.copy(), start))


def common(one: Ids, other: Ids) -> int:
    """Return the number of equal tokens at the start of two texts."""
    shorter = min(one.size, other.size)
    differ = one[:shorter] != other[:shorter]
    first = int(differ.argmax()) if shorter else 0  # 0 also if none differs
    return first if shorter and differ[first] else shorter


def _beginning(ids: Ids) -> bytes:
    return ids[:MIN_PREFIX].tobytes()
