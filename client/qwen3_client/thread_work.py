"""Work on another thread that ends when nobody waits for it any more.

Cancelling a coroutine that awaits `asyncio.to_thread` leaves the thread running. Here the thread is told, and the
coroutine ends after it, so that work that still runs is never counted as ended. This module knows nothing about
what is done.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


class AbandonedError(Exception):
    """Nobody waits for the result any more. It never leaves the thread's work."""


class Abandonment(threading.Event):
    """Whether work has been abandoned: set by the one who waited for it, and looked at by the thread."""

    def check(self) -> None:
        """Raise an error if the work has been abandoned.

        Raises:
            AbandonedError: it has.
        """
        if self.is_set():
            raise AbandonedError


async def run_in_thread(work: Callable[[], _T], *, abandonment: Abandonment) -> _T:
    """Do work on another thread. If this is cancelled, it ends as soon as the work does.

    Args:
        work: what to do. It looks at `abandonment` now and then.
        abandonment: set when this is cancelled.
    """
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        abandonment.set()
        with contextlib.suppress(Exception):  # AbandonedError, or an error that nobody wants to know
            await task
        raise
