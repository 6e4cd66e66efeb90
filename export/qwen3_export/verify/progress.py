"""The interface through which long computations report their progress."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Progress(Protocol):
    """A function that starts one stage of the work."""

    def __call__(self, what: str, *, total: int, unit: str) -> AbstractContextManager[Callable[[int], None]]:
        """Start a stage.

        Args:
            what: The name of the stage, shown to the user.
            total: The number of units in it.
            unit: The name of a unit: `B`, `tok` or `text`.

        Returns:
            A context manager. It gives a function to call with the number of units that were done since the last call.
        """


@contextmanager
def silent(what: str, *, total: int, unit: str) -> Iterator[Callable[[int], None]]:  # noqa: ARG001
    """Show nothing, as a `Progress`."""
    yield lambda _done: None
