"""The results of items that are processed together, in their order, up to the first failure.

The layers below the client see only some of a call's items and do not know their indices in the call. So they return an
`Outcome` instead of raising. The client, which has the whole call, can tell from the number of results which item
failed. This module knows nothing about what the items are.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

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
