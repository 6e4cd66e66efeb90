"""The one thread of a process on which all clients do their input and output, but for calls that run `at_once`.

A connection belongs to one event loop. A program may have no loop, or several of them (a notebook, a test suite), and
gRPC's asyncio support fails if several loops use it. So this module has one loop of its own, in a thread of its own:
`Client` waits for it in the caller's thread, and `AsyncClient` awaits it in the caller's loop. This module knows
nothing about servers.
"""

import asyncio
import atexit
import concurrent.futures
import contextlib
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

_T = TypeVar("_T")

_EXIT_TIMEOUT_S = 2.0

_lock = threading.RLock()  # the garbage collector may call `close_soon` inside any function of this module
_loop: asyncio.AbstractEventLoop | None = None


class Closable(Protocol):
    """An object that holds connections open."""

    async def close(self) -> None:
        """Close them. Closing again does nothing."""


_open: dict[int, Closable] = {}  # by identity: a transport may define equality
# In a forked child, the objects of its parent. They are kept alive: closing one would close the parent's socket too.
_inherited: list[Closable] = []


def submit(coroutine: Coroutine[Any, Any, _T]) -> "Future[_T]":
    """Run a coroutine on the thread, which the first call starts.

    Returns:
        The coroutine's result. Cancelling the future cancels the coroutine.
    """
    return asyncio.run_coroutine_threadsafe(coroutine, _running_loop())


def is_current() -> bool:
    """Return whether the caller is on the thread."""
    return _loop is not None and asyncio._get_running_loop() is _loop


def keep(what: Closable) -> None:
    """Register an object that is to be closed, at the latest when the program ends."""
    _open[id(what)] = what


def forget(what: Closable) -> None:
    """Remove an object that has been closed from those that `keep` registered."""
    _open.pop(id(what), None)


def close_soon(what: Closable) -> None:
    """Start closing an object that `keep` registered, unless it belongs to the parent of this forked process."""
    if _open.pop(id(what), None) is not None:
        submit(what.close())


def _running_loop() -> asyncio.AbstractEventLoop:
    global _loop
    with _lock:
        if _loop is None:
            loop = asyncio.new_event_loop()
            thread = threading.Thread(target=loop.run_forever, name="qwen3-client", daemon=True)
            thread.start()
            atexit.register(_close_what_is_open, loop)
            _loop = loop
        return _loop


def _close_what_is_open(loop: asyncio.AbstractEventLoop) -> None:
    """Close what is still open, so that a program that did not close it ends without warnings."""
    if _loop is not loop:  # this is a forked child, and the thread is the parent's
        return

    async def close_all() -> None:
        await asyncio.gather(*(each.close() for each in list(_open.values())), return_exceptions=True)

    # The loop is not stopped: exit handlers that were registered earlier run later, and may still call a client.
    with contextlib.suppress(concurrent.futures.TimeoutError):
        asyncio.run_coroutine_threadsafe(close_all(), loop).result(_EXIT_TIMEOUT_S)


def _after_fork() -> None:
    """Forget the thread and what is open, in a forked child: it does not have the threads of its parent."""
    global _loop, _lock
    _loop, _lock = None, threading.RLock()
    _inherited.extend(_open.values())
    _open.clear()


os.register_at_fork(after_in_child=_after_fork)
