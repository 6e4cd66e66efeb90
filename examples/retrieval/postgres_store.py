"""Retrieval in PostgreSQL with pgvector.

The full vectors are kept once, in float16 (`halfvec`). Two small HNSW indexes find candidates: one on the signs of the
numbers, one bit each, by Hamming distance; the other on the first dimensions (MRL), by cosine. The same statement then
orders the candidates by the full vectors. The bits and the first dimensions are made by the database, of the full
vectors, so they cannot contradict them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import psycopg
from documents import Documents, check_space
from numpy.typing import NDArray
from pgvector import HalfVector
from pgvector.psycopg import register_vector
from psycopg import sql
from psycopg.types.json import Jsonb
from store import By

# Where the fingerprint of every table with vectors is.
_SPACES = """
CREATE TABLE IF NOT EXISTS vector_spaces (
    table_name text PRIMARY KEY,
    fingerprint text NOT NULL,
    about jsonb NOT NULL
)"""

_TABLE = """
CREATE TABLE {table} (
    id bigint PRIMARY KEY,
    text text NOT NULL,
    embedding halfvec({dimensions}) NOT NULL,
    bits bit({dimensions}) GENERATED ALWAYS AS (binary_quantize(embedding)::bit({dimensions})) STORED
)"""

_INDEXES = (
    "CREATE INDEX ON {table} USING hnsw (bits bit_hamming_ops)",
    "CREATE INDEX ON {table} USING hnsw ((subvector(embedding, 1, {short})::halfvec({short})) halfvec_cosine_ops)",
)

# The order must be written as the index has it, or PostgreSQL reads the whole table.
_ORDERS = {
    "bits": "bits <~> binary_quantize({query})::bit({dimensions})",
    "short": "subvector(embedding, 1, {short})::halfvec({short}) <=> subvector({query}, 1, {short})::halfvec({short})",
}

_CANDIDATES = "SELECT id FROM {table} ORDER BY {order} LIMIT %(candidates)s"

_RESCORED = """
WITH candidates AS MATERIALIZED (
    SELECT id, embedding FROM {table} ORDER BY {order} LIMIT %(candidates)s
)
SELECT id FROM candidates ORDER BY embedding <#> {query} LIMIT %(count)s"""

# The negative inner product. Vectors have norm 1, so its order is that of the cosine.
_EXACT = "SELECT id FROM {table} ORDER BY embedding <#> {query} LIMIT %(count)s"

_UPSERT = """
INSERT INTO {table} (id, text, embedding) SELECT id, text, embedding FROM added
ON CONFLICT (id) DO UPDATE SET text = excluded.text, embedding = excluded.embedding"""


class PostgresStore:
    """A table of documents and their vectors in PostgreSQL.

    Args:
        uri: the database, as `postgresql://user@host/name`.
        table: the name of the table.
        statement_timeout_s: the longest that one statement may run, such as building an index.

    Raises:
        ConnectionError: there is no such database, or it has no pgvector.
    """

    name = "PostgreSQL with pgvector"

    def __init__(self, uri: str, *, table: str, statement_timeout_s: int = 600) -> None:
        self._name = table
        try:
            self._connection = psycopg.connect(
                uri, autocommit=True, connect_timeout=10, options=f"-c statement_timeout={statement_timeout_s * 1000}"
            )
            self._connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            register_vector(self._connection)  # with a type that older releases of pgvector lack
        except psycopg.Error as error:
            raise ConnectionError(
                f"the database cannot be used, which must have pgvector 0.7 or newer: {error}"
            ) from None
        # How many candidates a search in an HNSW index keeps, which is also the most that it can return.
        self._connection.execute("SET hnsw.ef_search = 400")
        # A table of some thousand rows, as in an example, PostgreSQL would rather read whole than through an index.
        self._connection.execute("SET enable_seqscan = off")
        self._connection.execute(_SPACES)
        self._about = self._read_about()

    def __enter__(self) -> "PostgresStore":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    @property
    def fingerprint(self) -> str | None:
        """The fingerprint of the vectors in the table; None if there is no table."""
        return None if self._about is None else str(self._about["fingerprint"])

    def load(self, documents: Documents, *, short: int) -> None:
        """Replace the table by one with these documents, in one transaction: readers see the old one or the new one.

        Args:
            documents: the documents.
            short: how many of the first dimensions the second index has.
        """
        about = {**documents.about, "dimensions": documents.vectors.shape[1], "short": short}
        with self._connection.transaction():
            if self._about is not None:  # a table that something else made is left alone: creating ours then fails
                self._execute("DROP TABLE {table}", about)
            self._execute(_TABLE, about)
            self._copy(documents, self._name)
            for index in _INDEXES:  # after the rows: that is faster
                self._execute(index, about)
            self._connection.execute(
                "INSERT INTO vector_spaces VALUES (%s, %s, %s) ON CONFLICT (table_name) "
                "DO UPDATE SET fingerprint = excluded.fingerprint, about = excluded.about",
                (self._name, documents.fingerprint, Jsonb(about)),
            )
        self._about = about
        self._execute("ANALYZE {table}", about)

    def add(self, documents: Documents) -> None:
        """Add documents, or replace those with the same ids, in one transaction.

        Raises:
            SpaceError: another model made their vectors.
        """
        with self._connection.transaction():
            self._about = self._read_about()
            about = self._loaded()
            check_space(table=self._name, kept=about["fingerprint"], offered=documents.fingerprint)
            self._execute(
                "CREATE TEMPORARY TABLE added (id bigint, text text, embedding halfvec({dimensions})) ON COMMIT DROP",
                about,
            )
            self._copy(documents, "added")
            self._execute(_UPSERT, about)

    def exact(self, query: NDArray[np.float32], *, count: int) -> list[int]:
        """Return the ids of the nearest documents, after reading all of them."""
        with self._connection.transaction():
            self._connection.execute("SET LOCAL enable_seqscan = on")
            return self._ids(_EXACT, query, count=count)

    def candidates(self, query: NDArray[np.float32], *, by: By, count: int) -> list[int]:
        """Return the ids of the nearest documents by one of the two small indexes."""
        return self._ids(_CANDIDATES, query, by=by, candidates=count)

    def rescored(self, query: NDArray[np.float32], *, by: By, candidates: int, count: int) -> list[int]:
        """Return the ids of the best candidates by the full vectors."""
        return self._ids(_RESCORED, query, by=by, candidates=candidates, count=count)

    def texts(self, ids: Sequence[int]) -> list[str]:
        """Return the texts of documents, in the order of their ids."""
        rows = self._execute("SELECT id, text FROM {table} WHERE id = ANY(%(ids)s)", self._loaded(), ids=list(ids))
        found = dict(rows.fetchall())
        return [found[each] for each in ids]

    def plan(self, query: NDArray[np.float32], *, by: By, candidates: int, count: int) -> str:
        """Return what PostgreSQL does for `rescored`, and how long each step takes."""
        statement = "EXPLAIN (ANALYZE, COSTS OFF, SUMMARY OFF) " + _RESCORED
        rows = self._search(statement, query, by=by, candidates=candidates, count=count).fetchall()
        return "\n".join(line for (line,) in rows)

    def _copy(self, documents: Documents, table: str) -> None:
        statement = sql.SQL("COPY {} (id, text, embedding) FROM STDIN (FORMAT BINARY)").format(sql.Identifier(table))
        with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types(["int8", "text", "halfvec"])
            for each, text, vector in zip(documents.ids, documents.texts, documents.vectors, strict=True):
                copy.write_row((int(each), text, HalfVector(vector)))

    def _read_about(self) -> dict[str, Any] | None:
        row = self._connection.execute(
            "SELECT about FROM vector_spaces WHERE table_name = %s", (self._name,)
        ).fetchone()
        return None if row is None else row[0]

    def _loaded(self) -> dict[str, Any]:
        if self._about is None:
            raise LookupError(f"the database has no vectors in a table {self._name}: load documents first")
        return self._about

    def _ids(self, statement: str, query: NDArray[np.float32], *, by: By = "bits", **values: int) -> list[int]:
        return [each for (each,) in self._search(statement, query, by=by, **values).fetchall()]

    def _search(self, statement: str, query: NDArray[np.float32], *, by: By, **values: int) -> psycopg.Cursor[Any]:
        ordered = statement.replace("{order}", _ORDERS[by]).replace("{query}", "%(query)s")
        return self._execute(ordered, self._loaded(), query=HalfVector(query), **values)

    def _execute(self, statement: str, about: dict[str, Any], **values: object) -> psycopg.Cursor[Any]:
        composed = sql.SQL(statement).format(
            table=sql.Identifier(self._name),
            dimensions=sql.Literal(about["dimensions"]),
            short=sql.Literal(about["short"]),
        )
        return self._connection.execute(composed, values or None)
