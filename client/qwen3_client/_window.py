"""How many requests may be on their way: fewer while the server refuses some, more again as it takes them.

The window halves when the server's queue is full and grows by one for each window of requests that succeed: additive
increase, multiplicative decrease, as TCP does (RFC 5681). This module knows nothing about requests.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

__all__ = ["Window"]


@dataclass(frozen=True, slots=True)
class Slot:
    """The permission to send one request.

    Attributes:
        shrinks: how often the window had been halved when it was given.
    """

    shrinks: int


class Window:
    """Slots for requests. For one event loop.

    Args:
        most: slots while the server refuses nothing.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self._taken = 0
        self._shrinks = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        """Slots that there are now, from 1 to `most`."""
        return int(self._limit)

    async def enter(self, *, first: bool = False) -> Slot:
        """Waits for a slot.

        Args:
            first: whether to go before all who wait: a request that was refused is older than they are.
        """
        if self._taken < self.limit and not self._waiting:
            self._taken += 1
        else:
            turn = asyncio.get_running_loop().create_future()
            if first:
                self._waiting.appendleft(turn)
            else:
                self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self.leave()  # the slot came too late
                elif turn in self._waiting:  # else a slot was to be given to it, and went to the next
                    self._waiting.remove(turn)
                raise
        return Slot(self._shrinks)

    def leave(self) -> None:
        """Gives a slot back."""
        self._taken -= 1
        while self._waiting and self._taken < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():  # who waited may have given up
                self._taken += 1
                turn.set_result(None)

    def grow(self) -> None:
        """Notes that a request succeeded."""
        self._limit = min(self._limit + 1 / self._limit, self._most)

    def shrink(self, slot: Slot) -> None:
        """Notes that the request in a slot was refused.

        Requests that were on their way together tell of the same full queue: only the first of them counts.
        """
        if slot.shrinks == self._shrinks:
            self._limit = max(self._limit / 2, 1.0)
            self._shrinks += 1
