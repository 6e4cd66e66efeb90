"""The prefix cache: prefixes that several texts share are computed once.

An instruction comes before every query, and a reranker's prompt and query before every document. Requests do not mark
these prefixes. So the cache remembers how recent texts began, and once another text begins with the same tokens, the
host keeps the graph's rows (keys and values) of the tokens that they share. The rows of a prefix serve every text that
begins with all of its tokens or with some of them. `PrefixIndex` finds prefixes, on every device; `PrefixCache` is one
with rows in the processor's memory. This module knows token ids and rows, and nothing about graphs.
"""

from __future__ import annotations

from bisect import bisect_left, insort
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


@dataclass(frozen=True, slots=True)
class Prefix:
    """A prefix of a text whose rows are in the cache.

    Attributes:
        start: Index of its first row in the cache.
        length: Number of its tokens; 0 for no prefix.
    """

    start: int
    length: int


class _SortedTexts:
    """Texts in the order of their bytes, in which the one that shares most with another is next to it.

    So two are compared, where comparing all took as long as the rest of the host's work on a short text.
    """

    def __init__(self) -> None:
        self._in_order: list[bytes] = []

    def closest(self, ids: Ids) -> tuple[int, bytes]:
        """Return how many first tokens a text shares with the one that shares most with it, and the bytes of that."""
        text = ids.tobytes()
        index = bisect_left(self._in_order, text)
        neighbours = self._in_order[max(index - 1, 0) : index + 1]
        return max(((common(_ids(other), ids), other) for other in neighbours), default=(0, b""))

    def add(self, text: bytes) -> None:
        """Add a text, also one that is there already."""
        insort(self._in_order, text)

    def remove(self, text: bytes) -> None:
        """Remove one that was added."""
        del self._in_order[bisect_left(self._in_order, text)]


class _RecentTexts:
    """The texts that recently began with the same tokens, at most `_TEXTS_PER_BEGINNING` of them."""

    def __init__(self) -> None:
        self._by_age: deque[bytes] = deque()
        self._sorted = _SortedTexts()

    def add(self, ids: Ids) -> int:
        """Add a text, and return how many of its first tokens one of the others shares."""
        shared, _ = self._sorted.closest(ids)
        self._by_age.append(ids.tobytes())
        self._sorted.add(self._by_age[-1])
        if len(self._by_age) > _TEXTS_PER_BEGINNING:
            self._sorted.remove(self._by_age.popleft())
        return shared


class PrefixIndex:
    """Which rows of a table belong to which prefix. The table has a bounded size, and new rows replace the oldest.

    Args:
        tokens: Number of tokens whose rows fit in.
    """

    def __init__(self, *, tokens: int) -> None:
        self.tokens = tokens
        self._starts: dict[bytes, int] = {}  # of the prefixes in the table: their first rows, by their ids
        self._prefixes = _SortedTexts()
        self._next = 0  # the row to write next; after the last one comes the first again
        # Recent texts by their first tokens, least recent first.
        self._seen: OrderedDict[bytes, _RecentTexts] = OrderedDict()

    def longest(self, ids: Ids) -> Prefix:
        """Return the longest cached prefix of a text `[n]`. It never includes the text's last token."""
        length, prefix = self._prefixes.closest(ids[:-1])
        return Prefix(self._starts[prefix], length) if length >= MIN_PREFIX else Prefix(0, 0)

    def remember(self, ids: Ids) -> int:
        """Remember the beginning of a text.

        Returns:
            How many of its first tokens a recent text shares: at most half of the cache, so that a long text that
            comes twice does not replace everything in it, and never the last token of the text.
        """
        if ids.size <= MIN_PREFIX:
            return 0
        beginning = ids[:MIN_PREFIX].tobytes()
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
        for other, its_start in list(self._starts.items()):
            if its_start < self._next and its_start + _ids(other).size > start:
                self._remove(other)
        prefix = ids.tobytes()
        if prefix in self._starts:
            self._remove(prefix)
        self._starts[prefix] = start
        self._prefixes.add(prefix)
        return start

    def _remove(self, prefix: bytes) -> None:
        del self._starts[prefix]
        self._prefixes.remove(prefix)


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


def _ids(text: bytes) -> Ids:
    return np.frombuffer(text, np.int64)
