"""How many requests may be on their way: fewer while the server refuses some, more again as it takes them.

The window halves when the server's queue is full and grows by one for each window of requests that succeed: additive
increase, multiplicative decrease, as TCP does (RFC 5681). Where requests wait for a permit, interactive ones go before
bulk, which still gets one permit of a few. This module knows nothing about requests.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

from .options import PRIORITY_LEVELS, Priority

_MOST_IN_A_ROW = 4  # permits given to interactive requests while bulk waits, before one is bulk's


@dataclass(frozen=True, slots=True)
class Permit:
    """The permission to send one request.

    Attributes:
        shrinks: how often the window had been halved when it was given.
    """

    shrinks: int


class Window:
    """Permits for requests. For one event loop.

    Args:
        most: permits while the server refuses nothing.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self._taken = 0
        self._shrinks = 0
        self._waiting: dict[Priority, deque[asyncio.Future[None]]] = {priority: deque() for priority in PRIORITY_LEVELS}
        self._in_a_row = 0

    @property
    def limit(self) -> int:
        """Permits that there are now, from 1 to `most`."""
        return int(self._limit)

    async def enter(self, priority: Priority, *, first: bool = False) -> Permit:
        """Waits for a permit.

        Args:
            priority: whether to go before others.
            first: whether to go before all of the same priority: a request that was refused is older than they are.
        """
        waiting = self._waiting[priority]
        if self._taken < self.limit and not any(self._waiting.values()):
            self._taken += 1
        else:
            turn = asyncio.get_running_loop().create_future()
            if first:
                waiting.appendleft(turn)
            else:
                waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self.leave()  # the permit came too late
                elif turn in waiting:  # else a permit was to be given to it, and went to the next
                    waiting.remove(turn)
                raise
        return Permit(self._shrinks)

    def leave(self) -> None:
        """Gives a permit back."""
        self._taken -= 1
        while any(self._waiting.values()) and self._taken < self.limit:
            turn = self._next()
            if not turn.done():  # the request may have been given up
                self._taken += 1
                turn.set_result(None)

    def _next(self) -> "asyncio.Future[None]":
        """Takes out the next of the requests that wait."""
        interactive, bulk = self._waiting["interactive"], self._waiting["bulk"]
        if interactive and (not bulk or self._in_a_row < _MOST_IN_A_ROW):
            self._in_a_row = self._in_a_row + 1 if bulk else 0
            return interactive.popleft()
        self._in_a_row = 0
        return bulk.popleft()

    def grow(self) -> None:
        """Notes that a request succeeded."""
        self._limit = min(self._limit + 1 / self._limit, self._most)

    def shrink(self, permit: Permit) -> None:
        """Notes that a request with a permit was refused.

        Requests that were on their way together tell of the same full queue: only the first of them counts.
        """
        if permit.shrinks == self._shrinks:
            self._limit = max(self._limit / 2, 1.0)
            self._shrinks += 1
