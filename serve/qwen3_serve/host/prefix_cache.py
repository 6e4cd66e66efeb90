"""The prefix cache: what texts have in common with earlier ones is computed once.

An instruction stands before every query, a reranker's prompt and query before every document. Nobody says so: the cache
remembers how recent texts began, and when another one begins alike, the graph's rows of what they share are worth
keeping. Rows of a prefix serve any text that begins with its tokens, or with some of them. It knows token ids and rows,
and nothing about graphs.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
Rows = npt.NDArray[np.float32]

SHORTEST = 8  # tokens; fewer are not worth the trouble
_BEGINNINGS = 64  # of recent texts that are remembered, the first eight tokens of each ...
_TEXTS = 32  # ... and for each the last texts that began so


@dataclass(frozen=True, slots=True)
class Prefix:
    """The beginning of a text that the cache has the rows of.

    Attributes:
        start: Its first row among the cache's.
        length: Its tokens; 0 if there is none.
    """

    start: int
    length: int


@dataclass(frozen=True, slots=True)
class _Entry:
    beginning: bytes
    ids: Ids
    start: int


class PrefixCache:
    """Rows of a bounded number of tokens; new ones replace the oldest.

    Args:
        tokens: How many.
        size: Values a token: keys and values of all layers.
    """

    def __init__(self, *, tokens: int, size: int) -> None:
        self._rows: Rows = np.zeros((tokens, size), np.float32)  # what was never written takes no memory
        self._entries: list[_Entry] = []
        self._next = 0  # row, round and round
        self._seen: OrderedDict[bytes, deque[Ids]] = OrderedDict()  # by their first tokens, least recent first

    def longest(self, ids: Ids) -> Prefix:
        """The longest prefix of a text ``[n]`` that there are rows of; at least its last token remains."""
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
        """A view of a prefix's rows, FP32 ``[length, size]``, good until something is stored."""
        return self._rows[prefix.start : prefix.start + prefix.length]

    def remember(self, ids: Ids) -> int:
        """Remember how a text begins; with how many of its first tokens another one lately began.

        At most half of the cache, so that one long text that comes twice does not replace everything in it; and
        never the text's last token.
        """
        if ids.size <= SHORTEST:
            return 0
        beginning = _beginning(ids)
        texts = self._seen.setdefault(beginning, deque(maxlen=_TEXTS))
        self._seen.move_to_end(beginning)
        if len(self._seen) > _BEGINNINGS:
            self._seen.popitem(last=False)
        head = ids[: self._rows.shape[0] // 2].copy()  # `ids` may be a view of memory that the request takes with it
        length = max((common(text, head[: ids.size - 1]) for text in texts), default=0)
        texts.append(head)
        return length

    def store(self, ids: Ids, rows: Rows) -> None:
        """Take the rows of a prefix.

        Args:
            ids: Its tokens ``[n]``, at least :data:`SHORTEST` and at most the cache's.
            rows: FP32 ``[n, size]``.
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
    """With how many equal tokens two texts begin."""
    shorter = min(one.size, other.size)
    differ = one[:shorter] != other[:shorter]
    return int(differ.argmax()) if differ.any() else shorter


def _beginning(ids: Ids) -> bytes:
    return ids[:SHORTEST].tobytes()
