"""The one thread of a process on which all clients do their input and output.

A connection belongs to an event loop. A program without a loop has none to lend; a program with several (a notebook, a
test suite) would tie each connection to one of them, and gRPC's asyncio support fails when several loops use it. So
there is one loop, in a thread of its own; `Client` waits for it in the caller's thread, `AsyncClient` from the caller's
loop. This module knows nothing about servers.
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
    """What holds connections open."""

    async def close(self) -> None:
        """Closes them. Closing again does nothing."""


_open: set[Closable] = set()
_inherited: list[Closable] = []  # the parent's, in a forked child: closing one would take its socket from both


def submit(coroutine: Coroutine[Any, Any, _T]) -> "Future[_T]":
    """Runs a coroutine on the thread, which the first call starts.

    Returns:
        What becomes of it. Cancelling the future cancels the coroutine.
    """
    return asyncio.run_coroutine_threadsafe(coroutine, _running_loop())


def is_current() -> bool:
    """Say whether the caller is a coroutine that runs on the thread."""
    return _loop is not None and asyncio.get_running_loop() is _loop


def keep(what: Closable) -> None:
    """Remembers something that shall be closed on the thread, when the program ends at the latest."""
    _open.add(what)


def forget(what: Closable) -> None:
    """Notes that something that was kept is closed."""
    _open.discard(what)


def close_soon(what: Closable) -> None:
    """Has something closed that was kept, unless it belongs to the process that this one was forked from."""
    if what in _open:
        _open.discard(what)
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
    """Closes what is still open, so that a program which forgot to does not end in complaints."""
    if _loop is not loop:  # in a forked child: the thread is the parent's
        return

    async def close_all() -> None:
        await asyncio.gather(*(each.close() for each in list(_open)), return_exceptions=True)

    # The loop goes on: a handler that was registered earlier runs later, and may still call a client.
    with contextlib.suppress(concurrent.futures.TimeoutError):
        asyncio.run_coroutine_threadsafe(close_all(), loop).result(_EXIT_TIMEOUT_S)


def _after_fork() -> None:
    """A forked child has none of its parent's threads."""
    global _loop, _lock
    _loop, _lock = None, threading.RLock()
    _inherited.extend(_open)
    _open.clear()


os.register_at_fork(after_in_child=_after_fork)
