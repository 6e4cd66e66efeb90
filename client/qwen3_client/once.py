"""Work that is done once for all who ask: they share one task, and a failure is forgotten.

For one event loop.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")


class Once(Generic[_T]):
    """The result of a coroutine.

    Args:
        work: makes the coroutine; called again when the one before it failed.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> None:
        self._work = work
        self._task: asyncio.Task[_T] | None = None

    async def get(self) -> _T:
        """Return the result. Those who ask while the work is done get the same failure; the next one tries again."""
        task = self._task
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._task = asyncio.create_task(self._work())
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, should nobody wait
        # One of those who wait may be cancelled; the others still want the result.
        return task.result() if task.done() else await asyncio.shield(task)
