"""Work that runs at once in the caller's thread, without an event loop.

Handing a call to a session's loop, and the answer from gRPC's thread to the loop and on to the caller, takes a quarter
of a millisecond. But where the model is known and the window has room, a call with one text waits for nothing but one
answer, and a transport may have a way of waiting for that which needs no loop. So the coroutines of a call can run
without one. Where one of them would have to wait for anything else, it raises an error, and the call is made on the
loop instead, from its beginning; a request that has failed by then counts as its first try.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


class NeedsLoopError(Exception):
    """Work would have to wait for something, and has no event loop to wait on. It never leaves the client."""


def has_loop() -> bool:
    """Return whether an event loop runs in this thread. Where none does, work runs at once."""
    return asyncio._get_running_loop() is not None


def need_loop() -> None:
    """Refuse to go on without an event loop.

    Raises:
        NeedsLoopError: none runs in this thread.
    """
    if not has_loop():
        raise NeedsLoopError


def run_at_once(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine in this thread, in which no event loop runs, and return its result.

    Raises:
        NeedsLoopError: it has to wait for something.
    """
    try:
        work.send(None)
    except StopIteration as end:
        result: _T = end.value
        return result
    finally:
        work.close()
    raise NeedsLoopError
