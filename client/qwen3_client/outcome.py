"""What becomes of items that are worked on together: results in their order, and the first failure among them.

The layers below the clients see some of a call's items and do not know their positions in the call. They return an
`Outcome`; the client, which has the whole call, knows from the number of results which item failed.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

from .errors import Qwen3ClientError

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[_T]):
    """What became of a number of items.

    Attributes:
        results: of the items before the first that failed, or of all, in their order.
        failure: of the item after those; None if all succeeded.
    """

    results: list[_T]
    failure: Qwen3ClientError | None = None

    @classmethod
    def collect(cls, results: Iterable[_T], *, failure: Qwen3ClientError | None = None) -> "Outcome[_T]":
        """Take results until one cannot be made.

        Args:
            results: what makes them, one after another.
            failure: of the item after the last of them.
        """
        taken: list[_T] = []
        try:
            for result in results:
                taken.append(result)
        except Qwen3ClientError as error:
            return cls(taken, error)
        return cls(taken, failure)

    def all(self, noun: str) -> list[_T]:
        """Return the results of a whole call.

        Args:
            noun: what its items are.

        Raises:
            Qwen3ClientError: one failed.
        """
        self.check(noun, stop=len(self.results))
        return self.results

    def check(self, noun: str, *, stop: int) -> None:
        """Raise the failure, if there is one.

        Args:
            noun: what the call's items are.
            stop: the index in the call of the item after the results.

        Raises:
            Qwen3ClientError: an item failed.
        """
        if self.failure is not None:
            raise self.failure.about(noun, stop)


async def in_order(groups: Iterable[Coroutine[Any, Any, Outcome[_T]]]) -> Outcome[_T]:
    """Work on groups two at a time: one is made ready while the other is on its way.

    Args:
        groups: what works on each; the next is taken when there is room for it, none after a failure.

    Returns:
        What became of the items of all groups.
    """
    results: list[_T] = []
    failure: Qwen3ClientError | None = None
    remaining = iter(groups)
    started = list(islice(remaining, 2))
    if len(started) == 1:
        return await started[0]  # a single text is not worth a task
    pending = deque(map(asyncio.create_task, started))
    try:
        while pending and failure is None:
            outcome = await pending[0]
            pending.popleft()
            results += outcome.results
            failure = outcome.failure
            if failure is None and (group := next(remaining, None)) is not None:
                pending.append(asyncio.create_task(group))
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
    return Outcome(results, failure)
