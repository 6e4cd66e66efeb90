"""Both databases of examples/retrieval, with vectors whose nearest neighbours are known from exact search."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from documents import Documents, SpaceError
from numpy.typing import NDArray
from qwen3_client import quantize, similarity
from store import By, Store

pytestmark = pytest.mark.retrieval

Opens = Callable[[str], Store]

PAGE = Path(__file__).parents[3] / "docs" / "retrieval.md"
DIMENSIONS, SHORT = 256, 64
BY: tuple[By, ...] = ("bits", "short")
ABOUT = {"fingerprint": "0123456789abcdef", "source": "of this test"}
OTHER = {"fingerprint": "fedcba9876543210"}


def unit(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Vectors of norm 1, in numbers that float16 holds well."""
    rows: NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
    return rows


@pytest.fixture(scope="module")
def documents() -> Documents:
    """Two thousand documents in fifty clusters. Their ids are not their rows."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((50, DIMENSIONS))
    vectors = unit(centres[rng.integers(50, size=2000)] + 0.7 * rng.standard_normal((2000, DIMENSIONS)))
    ids = rng.permutation(2000) + 10_000
    return Documents(ids=ids, texts=[f"№{each} 'ё' 三" for each in ids], vectors=vectors, about=ABOUT)


@pytest.fixture(scope="module")
def queries(documents: Documents) -> NDArray[np.float32]:
    rng = np.random.default_rng(1)
    return unit(documents.vectors[:30] + 0.03 * rng.standard_normal((30, DIMENSIONS)))


@pytest.fixture
def store(opens: Opens, documents: Documents) -> Store:
    loaded = opens("documents_of_a_test")
    loaded.load(documents, short=SHORT)
    return loaded


def in_float16(documents: Documents, query: NDArray[np.float32]) -> NDArray[np.float32]:
    """The similarities that a database has of its float16 vectors."""
    scores: NDArray[np.float32] = similarity(query, documents.vectors.astype(np.float16))[0]
    return scores


def test_exact_search_finds_what_numpy_finds(store: Store, documents: Documents, queries: NDArray[np.float32]) -> None:
    for query in queries:
        found = store.exact(query, count=10)
        scores = dict(zip(documents.ids.tolist(), in_float16(documents, query), strict=True))
        best = sorted(scores.values(), reverse=True)[:10]
        assert len(set(found)) == 10
        # Neighbours so close that float16 queries or the order of sums decide may be swapped.
        np.testing.assert_allclose([scores[each] for each in found], best, atol=1e-3)


@pytest.mark.parametrize("by", BY)
def test_the_small_indexes_find_the_neighbours_and_the_full_vectors_put_them_in_order(
    store: Store, documents: Documents, queries: NDArray[np.float32], by: By
) -> None:
    hits = 0
    for query in queries:
        candidates = store.candidates(query, by=by, count=200)
        rescored = store.rescored(query, by=by, candidates=200, count=20)
        assert len(set(candidates)) == 200
        assert len(set(rescored)) == 20
        assert set(rescored) <= set(candidates)
        scores = dict(zip(documents.ids.tolist(), in_float16(documents, query), strict=True))
        np.testing.assert_allclose(
            [scores[each] for each in rescored],
            sorted((scores[each] for each in candidates), reverse=True)[:20],
            atol=1e-3,
        )
        hits += len(set(rescored[:10]) & set(store.exact(query, count=10)))
    assert hits >= 0.95 * 10 * len(queries)


@pytest.mark.parametrize("by", BY)
def test_the_first_candidates_are_the_nearest_by_the_small_vectors(
    store: Store, documents: Documents, queries: NDArray[np.float32], by: By
) -> None:
    if by == "bits":
        bits = np.unpackbits(quantize(documents.vectors, "ubinary"), axis=1)
        distances = (bits != np.unpackbits(quantize(queries[0], "ubinary"))).sum(axis=1).astype(np.float64)
    else:
        distances = 1.0 - similarity(unit(queries[0, :SHORT]), unit(documents.vectors[:, :SHORT]))[0]
    of = dict(zip(documents.ids.tolist(), distances, strict=True))
    found = [of[each] for each in store.candidates(queries[0], by=by, count=20)]
    np.testing.assert_allclose(found, np.sort(distances)[:20], atol=1e-3)


@pytest.mark.parametrize("by", BY)
def test_the_plan_uses_the_index(store: Store, queries: NDArray[np.float32], by: By) -> None:
    plan = store.plan(queries[0], by=by, candidates=200, count=20)
    assert "Index Scan using" in plan or "ANNSubIndex" in plan
    assert "Seq Scan" not in plan


def test_texts_come_in_the_order_of_their_ids(store: Store, documents: Documents) -> None:
    wanted = [7, 3, 1999, 0]
    assert store.texts([int(documents.ids[row]) for row in wanted]) == [documents.texts[row] for row in wanted]


def test_the_fingerprint_is_kept_with_the_vectors(opens: Opens, store: Store) -> None:
    assert store.fingerprint == ABOUT["fingerprint"]
    assert opens("documents_of_a_test").fingerprint == ABOUT["fingerprint"]
    assert opens("no_such_table").fingerprint is None


def test_documents_are_added_once_however_often(opens: Opens, documents: Documents) -> None:
    store = opens("documents_that_grow")
    store.load(documents.part(slice(0, 1500)), short=SHORT)
    changed = replace(documents.part(slice(1400, 2000)), texts=["new"] * 600)
    store.add(changed)
    store.add(changed)
    again = opens("documents_that_grow")
    for row in (1399, 1400, 1999):
        query, own = documents.vectors[row], int(documents.ids[row])
        assert again.exact(query, count=2000).count(own) == 1
        assert len(again.exact(query, count=3000)) == 2000
        for by in BY:
            assert again.rescored(query, by=by, candidates=200, count=1) == [own]
        assert again.texts([own]) == [documents.texts[row] if row < 1400 else "new"]


def test_vectors_of_another_model_are_refused(opens: Opens, store: Store, documents: Documents) -> None:
    other = replace(documents.part(slice(0, 10)), texts=["other"] * 10, about=OTHER)
    with pytest.raises(SpaceError, match=r"0123456789abcdef, but these have fedcba9876543210"):
        store.add(other)
    again = opens("documents_of_a_test")
    assert again.texts([int(documents.ids[0])]) == [documents.texts[0]]
    assert again.fingerprint == ABOUT["fingerprint"]


def test_a_table_is_replaced_with_its_fingerprint(opens: Opens, store: Store, documents: Documents) -> None:
    store.load(replace(documents.part(slice(0, 300)), about=OTHER), short=SHORT)
    again = opens("documents_of_a_test")
    assert again.fingerprint == OTHER["fingerprint"]
    assert len(again.exact(documents.vectors[0], count=2000)) == 300


def test_what_was_never_loaded_cannot_be_searched(opens: Opens, documents: Documents) -> None:
    with pytest.raises(LookupError, match="load documents first"):
        opens("no_such_table").candidates(documents.vectors[0], by="bits", count=10)


def test_a_load_that_fails_leaves_the_table_as_it_was(postgres_uri: str, documents: Documents) -> None:
    import psycopg
    from postgres_store import PostgresStore

    with PostgresStore(postgres_uri, table="documents_that_stay") as store:
        store.load(documents.part(slice(0, 200)), short=SHORT)
        twice = replace(documents.part(slice(0, 2)), ids=np.array([1, 1]), about=OTHER)
        with pytest.raises(psycopg.errors.UniqueViolation):
            store.load(twice, short=SHORT)
        assert len(store.exact(documents.vectors[0], count=500)) == 200
    with PostgresStore(postgres_uri, table="documents_that_stay") as again:
        assert again.fingerprint == ABOUT["fingerprint"]
        assert len(again.exact(documents.vectors[0], count=500)) == 200


def test_a_table_of_other_making_is_never_replaced(postgres_uri: str, documents: Documents) -> None:
    import psycopg
    from postgres_store import PostgresStore

    with psycopg.connect(postgres_uri) as connection:
        connection.execute("CREATE TABLE of_somebody_else AS SELECT 42 AS answer")
    with (
        PostgresStore(postgres_uri, table="of_somebody_else") as store,
        pytest.raises(psycopg.errors.DuplicateTable),
    ):
        store.load(documents, short=SHORT)
    with psycopg.connect(postgres_uri) as connection:
        assert connection.execute("SELECT answer FROM of_somebody_else").fetchall() == [(42,)]


def test_the_bits_of_postgres_are_those_of_the_client(postgres_uri: str, documents: Documents) -> None:
    import psycopg
    from postgres_store import PostgresStore

    with PostgresStore(postgres_uri, table="documents_with_bits") as store:
        store.load(documents, short=SHORT)
    with psycopg.connect(postgres_uri) as connection:
        rows = dict(connection.execute("SELECT id, bits::text FROM documents_with_bits").fetchall())
    for own, bits in zip(documents.ids, np.unpackbits(quantize(documents.vectors, "ubinary"), axis=1), strict=True):
        assert rows[int(own)] == "".join(map(str, bits))


def test_a_database_that_does_not_answer_is_named(tmp_path: Path) -> None:
    from postgres_store import PostgresStore

    with pytest.raises(ConnectionError, match=f"the database cannot be used.*{tmp_path}"):
        PostgresStore(f"postgresql:///postgres?host={tmp_path}", table="documents")


def test_the_statements_of_the_page_run(postgres_uri: str) -> None:
    import psycopg
    from pgvector import HalfVector
    from pgvector.psycopg import register_vector

    (shown,) = re.findall(r"```sql\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    *preparations, search = re.sub(r"--.*", "", shown).strip().removesuffix(";").split(";")
    vectors = unit(np.random.default_rng(2).standard_normal((300, 1024)))
    with psycopg.connect(postgres_uri, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        register_vector(connection)
        for statement in preparations:
            connection.execute(statement)
        with connection.cursor() as cursor:
            rows = [(number, "text", HalfVector(vector)) for number, vector in enumerate(vectors)]
            cursor.executemany("INSERT INTO documents VALUES (%s, %s, %s)", rows)
        found = connection.execute(search.replace("$1", "%(query)s"), {"query": HalfVector(vectors[7])}).fetchall()
    assert len(found) == 20
    assert found[0] == (7,)
