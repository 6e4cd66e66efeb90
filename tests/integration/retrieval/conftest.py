"""The databases of examples/retrieval: LanceDB, and PostgreSQL with pgvector from the package that carries it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from postgres_server import postgres_server
from store import Store

Opens = Callable[[str], Store]  # the name of a table to an open store


@pytest.fixture(scope="session")
def postgres_uri() -> Iterator[str]:
    """A genuine PostgreSQL with pgvector.

    Not in pytest's folder, which each pytest that starts on the machine closes to other users: root's PostgreSQL is run
    by another user.
    """
    with TemporaryDirectory() as folder, postgres_server(Path(folder) / "data") as uri:
        yield uri


@pytest.fixture(params=["lance", "postgres"])
def opens(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opens]:
    """Open a table of either database; opening it again shows what is stored, not what an object remembers."""
    from lance_store import LanceStore
    from postgres_store import PostgresStore

    with ExitStack() as stack:

        def open_table(table: str) -> Store:
            store: Store
            if request.param == "lance":
                store = LanceStore(tmp_path / "lance", table=table)
            else:
                store = PostgresStore(request.getfixturevalue("postgres_uri"), table=table)
            stack.enter_context(store)
            return store

        yield open_table
