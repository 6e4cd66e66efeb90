"""Retrieval in LanceDB, which is a library and a folder, and needs no server.

A row has the full vector in float16, the signs of its numbers in one bit each, and its first dimensions (MRL). HNSW
indexes on the second by Hamming distance and on the third by cosine find candidates, which are then ordered by the
full vectors. The fingerprint is in the metadata of the table's schema, as `qwen3-triton embed` writes it into Parquet.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from documents import Documents, check_space
from lancedb.index import HnswFlat
from lancedb.query import LanceVectorQueryBuilder
from numpy.typing import NDArray
from qwen3_client import quantize, similarity
from store import By

_ABOUT = b"qwen3_triton"
_METRICS = {"bits": "hamming", "short": "cosine"}
_EF = 400  # how many candidates a search in an HNSW index keeps


class LanceStore:
    """A table of documents and their vectors in a LanceDB folder.

    Args:
        folder: the database.
        table: the name of the table.
    """

    name = "LanceDB"

    def __init__(self, folder: Path, *, table: str) -> None:
        self._database = lancedb.connect(folder)
        self._name = table
        self._table: Any = None
        if table in self._database.list_tables().tables:
            self._table = self._database.open_table(table)

    def __enter__(self) -> "LanceStore":
        return self

    def __exit__(self, *_: object) -> None:
        self._table = None

    @property
    def fingerprint(self) -> str | None:
        """The fingerprint of the vectors in the table; None if there is no table."""
        return None if self._table is None else str(self._about()["fingerprint"])

    def load(self, documents: Documents, *, short: int) -> None:
        """Replace the table by one with these documents.

        Args:
            documents: the documents.
            short: how many of the first dimensions the second index has.
        """
        self._table = self._database.create_table(self._name, _rows(documents, short=short), mode="overwrite")
        self._index()

    def add(self, documents: Documents) -> None:
        """Add documents, or replace those with the same ids.

        Raises:
            SpaceError: another model made their vectors.
        """
        check_space(table=self._name, kept=self._about()["fingerprint"], offered=documents.fingerprint)
        merge = self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
        merge.execute(_rows(documents, short=self._about()["short"]))
        # Until they are in the indexes, new rows are read one by one. `optimize()`, which adds them, panics at an HNSW
        # index of bits ("unsupported index type: HNSW, FLATBIN", LanceDB 0.40).
        self._index()

    def exact(self, query: NDArray[np.float32], *, count: int) -> list[int]:
        """Return the ids of the nearest documents, after reading all of them."""
        search = self._table.search(query, vector_column_name="embedding").distance_type("dot").bypass_vector_index()
        return _ids(search.select(["id", "_distance"]).limit(count).to_arrow())

    def candidates(self, query: NDArray[np.float32], *, by: By, count: int) -> list[int]:
        """Return the ids of the nearest documents by one of the two small indexes."""
        return _ids(self._nearest(query, by=by, count=count).select(["id", "_distance"]).to_arrow())

    def rescored(self, query: NDArray[np.float32], *, by: By, candidates: int, count: int) -> list[int]:
        """Return the ids of the best candidates by the full vectors."""
        found = self._nearest(query, by=by, count=candidates).select(["id", "embedding", "_distance"]).to_arrow()
        vectors = found["embedding"].combine_chunks().flatten().to_numpy().reshape(found.num_rows, -1)
        order = np.argsort(-similarity(query, vectors)[0], kind="stable")[:count]
        return _ids(found.take(order))

    def texts(self, ids: Sequence[int]) -> list[str]:
        """Return the texts of documents, in the order of their ids."""
        wanted = ", ".join(str(int(each)) for each in ids)
        rows = self._table.search().where(f"id IN ({wanted})").select(["id", "text"]).limit(len(ids)).to_arrow()
        found = dict(zip(rows["id"].to_pylist(), rows["text"].to_pylist(), strict=True))
        return [found[each] for each in ids]

    def plan(self, query: NDArray[np.float32], *, by: By, candidates: int, count: int) -> str:
        """Return what LanceDB does for the candidates of `rescored`, which puts the best `count` in order itself."""
        del count
        found = self._nearest(query, by=by, count=candidates).select(["id", "embedding", "_distance"])
        return str(found.explain_plan()).strip()

    def _index(self) -> None:
        for column, metric in _METRICS.items():
            self._table.create_index(column, config=HnswFlat(distance_type=metric, num_partitions=1), replace=True)

    def _about(self) -> dict[str, Any]:
        if self._table is None:
            raise LookupError(f"the database has no table {self._name}: load documents first")
        about: dict[str, Any] = json.loads(self._table.schema.metadata[_ABOUT])
        return about

    def _nearest(self, query: NDArray[np.float32], *, by: By, count: int) -> LanceVectorQueryBuilder:
        short = self._about()["short"]
        wanted = quantize(query, "ubinary") if by == "bits" else query[:short]
        search: LanceVectorQueryBuilder = self._table.search(wanted, vector_column_name=by)
        return search.distance_type(_METRICS[by]).ef(_EF).limit(count)


def _ids(rows: pa.Table) -> list[int]:
    ids: list[int] = rows["id"].to_pylist()
    return ids


def _rows(documents: Documents, *, short: int) -> pa.Table:
    about = {**documents.about, "short": short}
    columns = {
        "id": pa.array(documents.ids),
        "text": pa.array(documents.texts),
        "embedding": _lists(documents.vectors.astype(np.float16)),
        "bits": _lists(quantize(documents.vectors, "ubinary")),
        "short": _lists(documents.vectors[:, :short].astype(np.float16)),  # the cosine divides by the norm
    }
    return pa.table(columns).replace_schema_metadata({_ABOUT: json.dumps(about)})


def _lists(numbers: NDArray[Any]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(numbers.reshape(-1)), numbers.shape[1])
