"""The prefix cache: prefixes that several texts share are computed once.

An instruction comes before every query, and a reranker's prompt and query before every document. Requests do not mark
these prefixes. So the cache remembers how recent texts began, and once another text begins with the same tokens, the
host keeps the graph's rows (keys and values) of the tokens that they share. The rows of a prefix serve every text that
begins with all of its tokens or with some of them. `PrefixIndex` finds prefixes, on every device; `PrefixCache` is one
with rows in the processor's memory. This module knows token ids and rows, and nothing about graphs.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
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


class PrefixIndex:
    """Which rows of a table belong to which prefix. The table has a bounded size, and new rows replace the oldest.

    Args:
        tokens: Number of tokens whose rows fit in.
    """

    def __init__(self, *, tokens: int) -> None:
        self.tokens = tokens
        self._entries: list[_Entry] = []
        self._next = 0  # the row to write next; after the last one comes the first again
        # Recent texts by their first tokens, least recent first.
        self._seen: OrderedDict[bytes, _RecentTexts] = OrderedDict()

    def longest(self, ids: Ids) -> Prefix:
        """Return the longest cached prefix of a text `[n]`. It never includes the text's last token."""
        best = Prefix(0, 0)
        beginning = _beginning(ids)
        for entry in self._entries:
            if entry.beginning == beginning:
                length = _longer(best.length, entry.ids, ids[:-1])
                if length > best.length:
                    best = Prefix(entry.start, length)
        return best

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
        return min(texts.add(ids[: self.tokens // 2]), ids.size - 1)

    def choose_leaders(self, texts: Sequence[Ids]) -> dict[int, int]:
        """Remember texts, and choose some to run before the others, so that these find shared prefixes in the cache.

        Returns:
            The indices of the leaders, each with the number of its first tokens whose rows are kept. Together these
            are no more than the cache holds.
        """
        leaders: dict[int, int] = {}
        free = self.tokens
        for index, ids in enumerate(texts if free else ()):
            shared = self.remember(ids)
            if not MIN_PREFIX <= shared <= free:
                continue
            from_leaders = [common(texts[leader][:length], ids) for leader, length in leaders.items()]
            if shared >= max(self.longest(ids).length, *from_leaders, 0) + MIN_PREFIX:
                leaders[index] = shared
                free -= shared
        return leaders

    def starts(self, sizes: Iterable[int]) -> list[int]:
        """Return the first rows that prefixes of these sizes get, if they are added one after another."""
        starts, after = [], self._next
        for size in sizes:
            starts.append(0 if after + size > self.tokens else after)
            after = starts[-1] + size
        return starts

    def add(self, ids: Ids) -> int:
        """Give rows to a prefix, and forget those that had them.

        Args:
            ids: Its token ids `[n]`, at least `MIN_PREFIX` and at most as many as there are rows.

        Returns:
            Its first row.
        """
        (start,) = self.starts([ids.size])
        self._next = start + ids.size
        self._entries = [
            entry for entry in self._entries if entry.start >= self._next or entry.start + entry.ids.size <= start
        ]
        self._entries.append(_Entry(_beginning(ids), ids.copy(), start))
        return start


class PrefixCache(PrefixIndex):
    """An index with its rows.

    Args:
        tokens: Number of tokens whose rows fit in.
        size: Numbers per row: keys and values of all layers.
    """

    def __init__(self, *, tokens: int, size: int) -> None:
        super().__init__(tokens=tokens)
        self._rows: Rows = np.zeros((tokens, size), np.float32)  # pages that were never written take no memory

    def rows_of(self, prefix: Prefix) -> Rows:
        """Return a view of a prefix's rows, FP32 `[length, size]`, valid until the next call of `store`."""
        return self._rows[prefix.start : prefix.start + prefix.length]

    def store(self, ids: Ids, rows: Rows) -> None:
        """Store the rows of a prefix.

        Args:
            ids: Its token ids `[n]`, at least `MIN_PREFIX` and at most as many as the cache holds.
            rows: FP32 `[n, size]`.
        """
        start = self.add(ids)
        self._rows[start : start + ids.size] = rows


def common(one: Ids, other: Ids) -> int:
    """Return the number of equal tokens at the start of two texts."""
    shorter = min(one.size, other.size)
    if shorter == 0:
        return 0
    differ = one[:shorter] != other[:shorter]
    first = int(differ.argmax())
    return first if differ[first] else shorter


def _longer(length: int, one: Ids, other: Ids) -> int:
    """Return the number of equal tokens at the start of two texts, or `length` if that is not less.

    Many texts of a server have equally much in common. Then a look at one token tells that two have no more.
    """
    if length < one.size and length < other.size and one[length] == other[length]:
        return max(length, common(one, other))
    return length


def _beginning(ids: Ids) -> bytes:
    return ids[:MIN_PREFIX].tobytes()
