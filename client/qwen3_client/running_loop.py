"""An event loop of the program on which one client does its input and output, in place of the thread of `io_thread`.

Handing a call to a thread and its result back costs a tenth of a millisecond of processor time, and as much again until
the threads wake up. A program that makes a call for every request of its own can spare that. This module knows nothing
about servers.
"""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from .errors import Qwen3ClientError
from .io_thread import Closable

_T = TypeVar("_T")


class Loop(Protocol):
    """Where a client does its input and output: the module `io_thread`, or a `RunningLoop`."""

    def submit(self, coroutine: Coroutine[Any, Any, _T], /) -> "Future[_T]":
        """Run a coroutine on the loop."""

    def is_current(self) -> bool:
        """Return whether the caller is on the loop's thread."""

    def keep(self, what: Closable, /) -> None:
        """Register an object that is to be closed."""

    def forget(self, what: Closable, /) -> None:
        """Remove an object that has been closed from those that `keep` registered."""

    def close_soon(self, what: Closable, /) -> None:
        """Start closing an object that `keep` registered."""


class RunningLoop:
    """The event loop that runs when this is made, for the objects of one client.

    Raises:
        RuntimeError: no event loop is running.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._open: set[int] = set()  # by identity: a transport may define equality

    def submit(self, coroutine: Coroutine[Any, Any, _T]) -> "Future[_T]":
        """Run a coroutine on the loop. Cancelling the future cancels the coroutine.

        Raises:
            Qwen3ClientError: the loop is closed.
        """
        if self._loop.is_closed():
            coroutine.close()
            raise Qwen3ClientError("the event loop on which this client worked is closed; make a new client")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def is_current(self) -> bool:
        """Return whether the caller is on the thread in which the loop runs now."""
        return asyncio._get_running_loop() is self._loop

    def keep(self, what: Closable) -> None:
        """Register an object that is to be closed. At the end of the program it is not: by then, the loop has ended."""
        self._open.add(id(what))

    def forget(self, what: Closable) -> None:
        """Remove an object that has been closed from those that `keep` registered."""
        self._open.discard(id(what))

    def close_soon(self, what: Closable) -> None:
        """Start closing an object that `keep` registered, if the loop is still there."""
        if id(what) in self._open and not self._loop.is_closed():
            self._open.remove(id(what))
            asyncio.run_coroutine_threadsafe(what.close(), self._loop)
