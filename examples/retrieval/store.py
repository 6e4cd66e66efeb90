"""What the databases of this example have in common."""

from collections.abc import Sequence
from types import TracebackType
from typing import Literal, Protocol

import numpy as np
from documents import Documents
from numpy.typing import NDArray

By = Literal["bits", "short"]  # the small indexes: of signs, one bit each, and of the first dimensions


class Store(Protocol):
    """A table of documents. Queries are float32 `[d]`; answers are ids of documents, the nearest first."""

    name: str

    def __enter__(self) -> "Store":
        """Return the store, which closes its connection at the end."""

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connection."""

    @property
    def fingerprint(self) -> str | None:
        """The fingerprint of the vectors in the table; None if there is no table."""

    def load(self, documents: Documents, *, short: int) -> None:
        """Replace the table by one with these documents, whose second index has the first `short` dimensions."""

    def add(self, documents: Documents) -> None:
        """Add documents, or replace those with the same ids.

        Raises:
            SpaceError: another model made their vectors.
        """

    def exact(self, query: NDArray[np.float32], *, count: int) -> list[int]:
        """Return the nearest documents, after reading all of them."""

    def candidates(self, query: NDArray[np.float32], *, by: By, count: int) -> list[int]:
        """Return the nearest documents by one of the two small indexes."""

    def rescored(self, query: NDArray[np.float32], *, by: By, candidates: int, count: int) -> list[int]:
        """Return the best candidates by the full vectors."""

    def texts(self, ids: Sequence[int]) -> list[str]:
        """Return the texts of documents, in the order of their ids."""

    def plan(self, query: NDArray[np.float32], *, by: By, candidates: int, count: int) -> str:
        """Return what the database does for `rescored`."""
