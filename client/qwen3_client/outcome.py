"""The results of items that are processed together, in their order, up to the first failure.

The layers below the client see only some of a call's items and do not know their indices in the call. So they return an
`Outcome` instead of raising. The client, which has the whole call, can tell from the number of results which item
failed. This module knows nothing about what the items are.
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
    """The results of a number of items.

    Attributes:
        results: the results of the items before the first one that failed, or of all items, in their order.
        failure: the error of the item after those; None if all succeeded.
    """

    results: list[_T]
    failure: Qwen3ClientError | None = None

    @classmethod
    def collect(cls, results: Iterable[_T], *, failure: Qwen3ClientError | None = None) -> "Outcome[_T]":
        """Collect results until an item fails.

        Args:
            results: an iterator that computes the results one after another, and raises when an item fails.
            failure: the error of the item after the last of them; None for none.
        """
        taken: list[_T] = []
        try:
            for result in results:
                taken.append(result)
        except Qwen3ClientError as error:
            return cls(taken, error)
        return cls(taken, failure)

    @classmethod
    def until_failure(cls, answers: Iterable[_T | Qwen3ClientError]) -> "Outcome[_T]":
        """Return the answers before the first one that is an error, with this error.

        Args:
            answers: for each item its result or its error, in their order.
        """
        results: list[_T] = []
        for answer in answers:
            if isinstance(answer, Qwen3ClientError):
                return cls(results, answer)
            results.append(answer)
        return cls(results)

    def all(self, noun: str) -> list[_T]:
        """Return the results of a whole call.

        Args:
            noun: what to call the items in an error.

        Raises:
            Qwen3ClientError: an item failed.
        """
        self.check(noun, stop=len(self.results))
        return self.results

    def check(self, noun: str, *, stop: int) -> None:
        """Raise the failure, if there is one.

        Args:
            noun: what to call the items in an error.
            stop: the index in the call of the item after the results.

        Raises:
            Qwen3ClientError: an item failed.
        """
        if self.failure is not None:
            raise self.failure.about(noun, stop)


async def in_order(groups: Iterable[Coroutine[Any, Any, Outcome[_T]]]) -> Outcome[_T]:
    """Process groups of items two at a time, so that one is tokenized while the other is on its way.

    Args:
        groups: a coroutine for each group. The next one is started when the first of the two has ended, and none after
            a failure.

    Returns:
        The results of the items of all groups.
    """
    results: list[_T] = []
    failure: Qwen3ClientError | None = None
    remaining = iter(groups)
    started = list(islice(remaining, 2))
    if len(started) == 1:
        return await started[0]  # a single group needs no task
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
