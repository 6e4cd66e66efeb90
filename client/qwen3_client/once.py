"""A result that is computed once and shared by all coroutines that ask for it, unless computing it fails.

For use in one event loop; once there is a result, without a loop too. This module knows nothing about what is computed.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from .at_once import need_loop

_T = TypeVar("_T")


class Once(Generic[_T]):
    """The memoised result of a coroutine.

    Args:
        work: returns the coroutine; called again after a failure.
        create_task: starts it.
    """

    def __init__(
        self,
        work: Callable[[], Coroutine[Any, Any, _T]],
        *,
        create_task: Callable[[Coroutine[Any, Any, _T]], "asyncio.Task[_T]"] = asyncio.create_task,
    ) -> None:
        self._work = work
        self._create_task = create_task
        self._task: asyncio.Task[_T] | None = None

    async def get(self) -> _T:
        """Return the result.

        All callers that wait for the same task get the same failure. The next caller after a failure starts a new task.

        Raises:
            NeedsLoopError: there is no result yet, and no loop to wait on.
        """
        task = self._task
        if task is not None and task.done() and not task.cancelled():
            return task.result()
        need_loop()
        if task is None:
            task = self._task = self._create_task(self._work())
            task.add_done_callback(self._forget_failure)
        return await asyncio.shield(task)  # a caller may be cancelled while others still wait for the same task

    def _forget_failure(self, task: "asyncio.Task[_T]") -> None:
        # Asking for the exception also keeps asyncio from logging it if nobody waits.
        if (task.cancelled() or task.exception() is not None) and self._task is task:
            self._task = None
