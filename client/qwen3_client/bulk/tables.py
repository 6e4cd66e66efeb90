"""Tables of texts and their vectors, in PostgreSQL with pgvector or in LanceDB, to which new rows are added.

A table has the columns `id`, `text` and `embedding`, and the description of its vectors beside them: in PostgreSQL in
the table `vector_spaces`, in LanceDB in the metadata of the schema. A row whose id is there already is never written
again, so a run may be repeated. This module makes no index, and knows nothing about servers of models.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..errors import ContractMismatchError, InvalidInputError
from .description import METADATA_KEY, as_json

_CONNECT_TIMEOUT_S = 10
_STATEMENT_TIMEOUT_S = 600
# What must be equal in the descriptions of vectors in one table.
_SHARED = ("fingerprint", "kind", "instruction", "prompt", "max_tokens", "special_tokens", "dimensions", "dtype")


class Table(Protocol):
    """A table that is open."""

    def ids(self) -> set[object]:
        """Return the ids of all rows."""

    def add(self, ids: pa.Array, texts: Sequence[str], vectors: NDArray[np.floating[Any]]) -> None:
        """Add rows whose ids are not there, all of them or, after an error, none.

        Args:
            ids: n ids.
            texts: n texts.
            vectors: `[n, dimensions]`, in the dtype of the table.
        """

    def close(self) -> None:
        """Close the connection."""


def open_table(url: str, name: str, *, key: pa.Field, about: Mapping[str, Any]) -> Table:
    """Open a table, or make it.

    Args:
        url: `postgresql://user@host/database` or `lance://folder`.
        name: the name of the table.
        key: the column of ids.
        about: the description of the vectors that will be added.

    Raises:
        ContractMismatchError: the vectors in the table are of another model or in another form.
        InvalidInputError: the URL is not such a one, or another program made the table.
        ImportError: the library is not installed.
        OSError: the database cannot be reached, or refuses.
    """
    if url.startswith(("postgresql://", "postgres://")):
        return _PostgresTable(url, name, key=key, about=about)
    if url.startswith("lance://") and url != "lance://":
        return _LanceTable(url.removeprefix("lance://"), name, key=key, about=about)
    raise InvalidInputError(f"cannot write to {url!r}: give postgresql://user@host/database or lance://folder")


class _PostgresTable:
    def __init__(self, url: str, name: str, *, key: pa.Field, about: Mapping[str, Any]) -> None:
        try:
            import psycopg
            from psycopg import sql
        except ImportError as error:
            raise _missing("postgres") from error
        self._failure = psycopg.Error
        self._table = sql.Identifier(name)
        self._sql = sql.SQL
        type_ = "halfvec" if about["dtype"] == "float16" else "vector"
        id_type = "bigint" if pa.types.is_integer(key.type) else "text"
        try:
            self._connection = psycopg.connect(
                url,
                autocommit=True,  # but for `_transaction`
                connect_timeout=_CONNECT_TIMEOUT_S,
                options=f"-c statement_timeout={_STATEMENT_TIMEOUT_S * 1000}",
            )
        except psycopg.Error as error:
            raise ConnectionError(f"PostgreSQL cannot be reached: {error}") from error
        try:
            with self._transaction():
                self._execute("CREATE EXTENSION IF NOT EXISTS vector")
                self._execute(
                    "CREATE TABLE IF NOT EXISTS vector_spaces "
                    "(table_name text PRIMARY KEY, fingerprint text NOT NULL, about jsonb NOT NULL)"
                )
                kept = self._execute("SELECT about FROM vector_spaces WHERE table_name = %s", name).fetchone()
                if kept is None:
                    # If another program made a table of this name, this fails, and leaves it as it is.
                    self._execute(
                        f"CREATE TABLE {{}} (id {id_type} PRIMARY KEY, text text NOT NULL, "
                        f"embedding {type_}({int(about['dimensions'])}) NOT NULL)"
                    )
                    self._execute(
                        "INSERT INTO vector_spaces VALUES (%s, %s, %s)", name, about["fingerprint"], as_json(about)
                    )
            if kept is not None:
                _check(name, kept[0], about)
        except BaseException:
            self._connection.close()
            raise

    def ids(self) -> set[object]:
        with self._transaction():
            return {row[0] for row in self._execute("SELECT id FROM {}")}

    def add(self, ids: pa.Array, texts: Sequence[str], vectors: NDArray[np.floating[Any]]) -> None:
        # As text, numbers of numpy are as short as they can be without becoming others.
        rows = [
            (key, text, f"[{','.join(map(str, row))}]")
            for key, text, row in zip(ids.to_pylist(), texts, vectors, strict=True)
        ]
        statement = "INSERT INTO {} VALUES (%s, %s, %s) ON CONFLICT (id) DO NOTHING"
        with self._transaction(), self._connection.cursor() as cursor:
            cursor.executemany(self._sql(statement).format(self._table), rows)

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            with self._connection.transaction():
                yield
        except self._failure as error:
            raise ConnectionError(f"PostgreSQL, which must have pgvector 0.7 or newer: {error}") from error

    def _execute(self, statement: str, *values: object) -> Any:  # noqa: ANN401 - a cursor of psycopg
        return self._connection.execute(self._sql(statement).format(self._table), values or None)


class _LanceTable:
    def __init__(self, folder: str, name: str, *, key: pa.Field, about: Mapping[str, Any]) -> None:
        try:
            import lancedb
        except ImportError as error:
            raise _missing("lance") from error
        width, number = int(about["dimensions"]), pa.from_numpy_dtype(np.dtype(about["dtype"]))
        self._schema = pa.schema(
            [("id", key.type), ("text", pa.string()), ("embedding", pa.list_(number, width))],
            metadata={METADATA_KEY: as_json(about)},
        )
        database = lancedb.connect(folder)
        if name not in database.list_tables().tables:
            self._table = database.create_table(name, schema=self._schema)
            return
        self._table = database.open_table(name)
        kept = (self._table.schema.metadata or {}).get(METADATA_KEY)
        if kept is None:
            raise InvalidInputError(f"another program made the table {name!r} in {folder}: name another with --table")
        _check(name, json.loads(kept), about)

    def ids(self) -> set[object]:
        if not (count := self._table.count_rows()):
            return set()
        return set(self._table.search().select(["id"]).limit(count).to_arrow()["id"].to_pylist())

    def add(self, ids: pa.Array, texts: Sequence[str], vectors: NDArray[np.floating[Any]]) -> None:
        lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        rows = pa.table([ids, pa.array(texts, pa.string()), lists], schema=self._schema)
        self._table.merge_insert("id").when_not_matched_insert_all().execute(rows)

    def close(self) -> None:
        """Nothing is held open."""


def _check(name: str, kept: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    for each in _SHARED:
        if kept.get(each) != about.get(each):
            raise ContractMismatchError(
                f"the vectors in the table {name!r} have {each} {kept.get(each)!r}, and these would have "
                f"{about.get(each)!r}: name another table with --table"
            )


def _missing(extra: str) -> ImportError:
    return ImportError(f"a library is not installed: pip install 'qwen3-triton[bulk,{extra}]'")
