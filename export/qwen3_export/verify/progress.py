"""How long computations tell how far they are, without knowing who listens."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Progress(Protocol):
    """Opens one stage of the work."""

    def __call__(self, what: str, *, total: int, unit: str) -> AbstractContextManager[Callable[[int], None]]:
        """Start a stage.

        Args:
            what: Its name, for people.
            total: How many units it will do.
            unit: What they are: `B` or `tok`.

        Returns:
            A context that gives the function to call with each number of units done.
        """


@contextmanager
def silent(what: str, *, total: int, unit: str) -> Iterator[Callable[[int], None]]:  # noqa: ARG001
    """A `Progress` that nobody watches."""
    yield lambda _done: None
