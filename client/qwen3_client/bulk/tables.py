"""Tables of texts and their vectors, in PostgreSQL with pgvector or in LanceDB, to which new rows are added.

A table has the columns `id`, `text` and `embedding`, and the description of its vectors beside them: in PostgreSQL in
the table `vector_spaces`, in LanceDB in the metadata of the schema. A row whose id is there already is never written
again, so a run may be repeated. This module makes no index, and knows nothing about servers of models.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..errors import ContractMismatchError, InvalidInputError
from .description import METADATA_KEY, as_json
from .vector_lists import vector_lists

_CONNECT_TIMEOUT_S = 10
_STATEMENT_TIMEOUT_S = 600
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
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

        Raises:
            InvalidInputError: the database cannot store a text or an id.
            OSError: the database fails.
        """

    def close(self) -> None:
        """Close the connection."""


def check_table(url: str, name: str) -> None:
    """Make sure that a URL and a name are those of a table.

    Raises:
        InvalidInputError: they are not.
    """
    if not _NAME.fullmatch(name) or name == "vector_spaces":
        raise InvalidInputError(
            f"the table cannot be called {name!r}: give --table at most 63 letters from a to z, digits and _, with no "
            "digit first, and not vector_spaces"
        )
    if not url.startswith(("postgresql://", "postgres://", "lance://")) or url == "lance://":
        shown = re.sub("//[^/]*@", "//", url)  # without a password
        raise InvalidInputError(f"cannot write to {shown!r}: give postgresql://user@host/database or lance://folder")


def open_table(url: str, name: str, *, key: pa.Field, about: Mapping[str, Any]) -> Table:
    """Open a table, or make it.

    Args:
        url: `postgresql://user@host/database` or `lance://folder`, as `check_table` accepts it.
        name: the name of the table, the same.
        key: the column of ids.
        about: the description of the vectors that will be added.

    Raises:
        ContractMismatchError: the vectors in the table are of another model or in another form.
        InvalidInputError: another program made the table.
        ImportError: the library is not installed.
        OSError: the database cannot be reached, or refuses.
    """
    if url.startswith("lance://"):
        return _LanceTable(url.removeprefix("lance://"), name, key=key, about=about)
    return _PostgresTable(url, name, key=key, about=about)


class _PostgresTable:
    def __init__(self, url: str, name: str, *, key: pa.Field, about: Mapping[str, Any]) -> None:
        try:
            import psycopg
            from psycopg import conninfo, errors, sql
        except ImportError as error:
            raise _missing("postgres") from error
        self._failure = psycopg.Error
        # Of a server without pgvector, or with one that has no halfvec.
        self._unsupported = (errors.FeatureNotSupported, errors.UndefinedFile, errors.UndefinedObject)
        self._table = sql.Identifier(name)
        self._sql = sql.SQL
        type_ = "halfvec" if about["dtype"] == "float16" else "vector"
        id_type = "bigint" if pa.types.is_integer(key.type) else "text"
        try:
            own = conninfo.conninfo_to_dict(url)
            timeout_s = own.get("connect_timeout", _CONNECT_TIMEOUT_S)
            # Each statement is a transaction, but for those in `_transaction`.
            self._connection = psycopg.connect(url, autocommit=True, connect_timeout=timeout_s)
        except psycopg.Error as error:
            raise ConnectionError(f"PostgreSQL cannot be reached: {error}") from error
        try:
            with self._transaction():
                self._execute(f"SET statement_timeout = '{_STATEMENT_TIMEOUT_S}s'")
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
                with self._transaction():
                    found = self._execute(
                        "SELECT atttypid::regtype::text FROM pg_attribute "
                        "WHERE attrelid = to_regclass(quote_ident(%s)) AND attname = 'id'",
                        name,
                    ).fetchone()
                if found is None:
                    raise InvalidInputError(
                        f"vector_spaces describes a table {name!r} that is not there: delete its row, or "
                        "name another table with --table"
                    )
                _check_id_type(name, found[0], id_type)
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
        for key, text, _ in rows:
            if "\0" in text or "\0" in str(key):
                raise InvalidInputError(
                    f"the text or the id of {key!r} holds the character NUL, which PostgreSQL cannot store: take it "
                    "out of the corpus, or use lance://"
                )
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
            remedy = "; it must have pgvector 0.7 or newer" if isinstance(error, self._unsupported) else ""
            raise ConnectionError(f"PostgreSQL: {str(error).strip()}{remedy}") from error

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
        ids = self._table.schema.field("id").type
        _check_id_type(name, _kind_of_id(ids), _kind_of_id(key.type))
        self._schema = self._schema.set(0, pa.field("id", ids))

    def ids(self) -> set[object]:
        if not (count := self._table.count_rows()):
            return set()
        return set(self._table.search().select(["id"]).limit(count).to_arrow()["id"].to_pylist())

    def add(self, ids: pa.Array, texts: Sequence[str], vectors: NDArray[np.floating[Any]]) -> None:
        rows = pa.table(
            [ids.cast(self._schema.field("id").type), pa.array(texts, pa.string()), vector_lists(vectors)],
            schema=self._schema,
        )
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


def _check_id_type(name: str, kept: str, given: str) -> None:
    if kept != given:
        raise ContractMismatchError(
            f"the ids in the table {name!r} are {kept}, and those of the corpus {given}: write them in the same way, "
            "or name another table with --table"
        )


def _kind_of_id(given: pa.DataType) -> str:
    return "integers" if pa.types.is_integer(given) else "strings"


def _missing(extra: str) -> ImportError:
    return ImportError(f"a library is not installed: pip install 'qwen3-triton[bulk,{extra}]'")
