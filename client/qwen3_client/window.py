"""The window: how many requests may be on their way. It shrinks when the server is full, and grows as they succeed.

A client has one for all its requests, and one for each of several servers. It is halved when the server's queue is
full, and grows by one when a whole window of requests has succeeded: additive increase, multiplicative decrease, as in
TCP (RFC 5681). Where requests wait for a permit, interactive ones go before bulk ones, but every fifth permit is for a
bulk one. This module knows nothing about what a request contains.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

from .options import PRIORITY_LEVELS, Priority

_MOST_IN_A_ROW = 4  # permits to interactive requests while bulk ones wait, before a bulk one gets the next


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to send one request.

    Attributes:
        shrinks: how often the window had been halved when the permit was given.
    """

    shrinks: int


class Window:
    """The permits for requests: of one event loop, and of other threads, whose work runs at once.

    There is no lock, because a signal handler may interrupt any of these methods and wait for another thread. Whoever
    takes a permit counts itself before it looks whether there was one, so that nobody gets one too many.

    Args:
        most: number of permits while the server refuses nothing.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self._taken = 0  # by requests of the loop
        self._taken_at_once: list[object] = []  # the requests of other threads that have a permit, or look for one
        self._shrinks = 0
        self._waiting: dict[Priority, deque[asyncio.Future[None]]] = {priority: deque() for priority in PRIORITY_LEVELS}
        self._in_a_row = 0

    @property
    def limit(self) -> int:
        """The number of permits at present, from 1 to `most`."""
        return int(self._limit)

    @property
    def is_full(self) -> bool:
        """Whether a request would wait for a permit."""
        return self._taken + len(self._taken_at_once) >= self.limit or self._is_waited_for

    @property
    def _is_waited_for(self) -> bool:
        return any(self._waiting.values())

    async def enter(self, priority: Priority, *, first: bool = False, timeout_s: float | None = None) -> Permit:
        """Wait for a permit, and return it.

        Args:
            priority: which requests go first where some wait.
            first: whether to go before all others of the same priority: a request that is retried is older than they.
            timeout_s: seconds to wait at most; None for any time.

        Raises:
            asyncio.TimeoutError: there was no permit in time.
        """
        waiting = self._waiting[priority]
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        if first:
            waiting.appendleft(turn)
        else:
            waiting.append(turn)
        self.hand_out()
        if turn.done():
            return Permit(self._shrinks)
        timer = None if timeout_s is None else loop.call_later(timeout_s, _expire, turn)
        try:
            await turn
        except (asyncio.CancelledError, asyncio.TimeoutError):
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave()  # the permit came too late
            elif turn in waiting:  # otherwise `hand_out` took it out, and gave the permit to the next
                waiting.remove(turn)
            raise
        finally:
            if timer is not None:
                timer.cancel()
        return Permit(self._shrinks)

    def enter_at_once(self, request: object) -> bool:
        """Take a permit if there is one, in any thread; return whether there was. In both cases, `leave_at_once`.

        Args:
            request: any object, to give the permit back with.
        """
        self._taken_at_once.append(request)
        return self._taken + len(self._taken_at_once) <= self.limit and not self._is_waited_for

    def leave(self) -> None:
        """Give back a permit."""
        self._taken -= 1
        self.hand_out()

    def leave_at_once(self, request: object) -> bool:
        """Give back the permit of `enter_at_once`, in any thread, if that was called.

        Returns:
            Whether requests wait for one, so that `hand_out` is to be called on their loop.
        """
        if request in self._taken_at_once:
            self._taken_at_once.remove(request)
        return self._is_waited_for

    def hand_out(self) -> None:
        """Give the permits that there are to the requests that wait."""
        while self._is_waited_for:
            self._taken += 1
            if self._taken + len(self._taken_at_once) > self.limit:
                self._taken -= 1
                return
            turn = self._next()
            if turn.done():  # the request was cancelled
                self._taken -= 1
            else:
                turn.set_result(None)

    def _next(self) -> "asyncio.Future[None]":
        """Remove the next of the waiting requests, and return it."""
        interactive, bulk = self._waiting["interactive"], self._waiting["bulk"]
        if interactive and (not bulk or self._in_a_row < _MOST_IN_A_ROW):
            self._in_a_row = self._in_a_row + 1 if bulk else 0
            return interactive.popleft()
        self._in_a_row = 0
        return bulk.popleft()

    def grow(self) -> None:
        """Let the window grow, because a request succeeded. In any thread: a change that is lost does no harm."""
        self._limit = min(self._limit + 1 / self._limit, self._most)

    def shrink(self, permit: Permit) -> None:
        """Halve the window, because a request was refused.

        Requests that were on their way at the same time were refused by the same full queue, so only the first of them
        counts.

        Args:
            permit: the permit of the request.
        """
        if permit.shrinks == self._shrinks:
            self._limit = max(self._limit / 2, 1.0)
            self._shrinks += 1


def _expire(turn: "asyncio.Future[None]") -> None:
    if not turn.done():
        turn.set_exception(asyncio.TimeoutError())
