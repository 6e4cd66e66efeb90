"""`qwen3-triton embed --to`: into genuine PostgreSQL and LanceDB, resumed after a kill, one model in a table."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from qwen3_client import Client
from qwen3_export import export
from qwen3_serve import Triton

pytestmark = pytest.mark.retrieval

ROWS = 1500
TABLE = "embed_to_table"
Read = Callable[[], dict[Any, tuple[str, list[float]]]]  # the table, as text and vector by id


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    folder = tmp_path_factory.mktemp("repository")
    export("tiny", repository=folder)
    with Triton(folder, threads=1) as triton:
        yield triton


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    texts = [f"text {number} " + "'long' " * (number * 37 % 40) for number in range(ROWS)]
    parquet.write_table(pa.table({"key": range(ROWS), "body": texts}), tmp_path / "corpus.parquet")
    return tmp_path / "corpus.parquet"


@pytest.fixture(params=["lance", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Read]:
    """The URL of a database, and what reads the table."""
    if request.param == "lance":
        import lancedb

        def read() -> dict[Any, tuple[str, list[float]]]:
            rows = lancedb.connect(tmp_path / "lance").open_table(TABLE).to_arrow()
            assert len(set(rows["id"].to_pylist())) == rows.num_rows
            return {row["id"]: (row["text"], row["embedding"]) for row in rows.to_pylist()}

        return f"lance://{tmp_path / 'lance'}", read
    import psycopg

    uri: str = request.getfixturevalue("postgres_uri")

    def read_postgres() -> dict[Any, tuple[str, list[float]]]:
        with psycopg.connect(uri) as connection:
            rows = connection.execute("SELECT id, text, embedding::text FROM embed_to_table").fetchall()
        return {row[0]: (row[1], json.loads(row[2])) for row in rows}

    with psycopg.connect(uri, autocommit=True) as connection:  # which other tests use too
        connection.execute(f"DROP TABLE IF EXISTS {TABLE}")
        if connection.execute("SELECT to_regclass('vector_spaces')").fetchone() != (None,):
            connection.execute("DELETE FROM vector_spaces WHERE table_name = %s", [TABLE])
    return uri, read_postgres


def command(corpus: Path, triton: Triton, url: str, *options: str) -> list[str]:
    columns = ["--text-column", "body", "--id-column", "key"]
    to = ["--to", url, "--table", TABLE, "--url", triton.grpc_url]
    return [sys.executable, "-m", "qwen3_client", "embed", str(corpus), *columns, *to, *options]


def run(*arguments: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=240, check=False)


def check(read: Read, corpus: Path, triton: Triton, dtype: str = "float32") -> None:
    """All rows are there once, with the bits that the client gets."""
    rows, texts = read(), parquet.read_table(corpus)["body"].to_pylist()
    assert sorted(rows) == list(range(len(texts)))
    assert [rows[key][0] for key in range(len(texts))] == texts
    with Client(triton.grpc_url) as client:
        expected = client.encode_document(texts).astype(dtype)
    np.testing.assert_array_equal(np.array([rows[key][1] for key in range(len(texts))], dtype), expected)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_each_row_is_there_once_and_a_second_run_adds_what_is_new(
    corpus: Path, triton: Triton, database: tuple[str, Read], dtype: str
) -> None:
    url, read = database
    first = run(corpus, triton, url, "--dtype", dtype)
    assert first.returncode == 0, first.stderr
    assert f"added {ROWS:,} rows to embed_to_table" in first.stderr
    check(read, corpus, triton, dtype)
    table = parquet.read_table(corpus)
    parquet.write_table(pa.concat_tables([table, pa.table({"key": [ROWS], "body": ["new"]})]), corpus)
    second = run(corpus, triton, url, "--dtype", dtype)
    assert f"added 1 rows to embed_to_table, which had {ROWS:,}" in second.stderr
    check(read, corpus, triton, dtype)


def test_a_run_that_was_killed_is_resumed(corpus: Path, triton: Triton, database: tuple[str, Read]) -> None:
    url, read = database
    arguments = command(corpus, triton, url, "--block-rows", "50")
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        while True:
            try:
                if read():
                    break
            except Exception:  # noqa: BLE001 - there is no table yet
                assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    kept = len(read())
    assert 0 < kept < ROWS
    again = run(corpus, triton, url)
    assert again.returncode == 0, again.stderr
    assert f"added {ROWS - kept:,} rows to embed_to_table, which had {kept:,}" in again.stderr
    check(read, corpus, triton)


def test_vectors_of_another_form_are_refused(corpus: Path, triton: Triton, database: tuple[str, Read]) -> None:
    url, read = database
    assert run(corpus, triton, url).returncode == 0
    refused = run(corpus, triton, url, "--dimensions", "32")
    assert refused.returncode == 1
    assert "have dimensions 64, and these would have 32: name another table with --table" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    check(read, corpus, triton)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://host/db", "give postgresql://user@host/database or lance://folder"),
        ("postgresql://127.0.0.1:1/nothing", "PostgreSQL cannot be reached"),
    ],
)
def test_a_database_that_is_none_is_an_error_of_one_line(corpus: Path, triton: Triton, url: str, said: str) -> None:
    refused = run(corpus, triton, url)
    assert refused.returncode in (1, 2)
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(("ids", "said"), [([1, 2, 1], "the id 1 is there twice"), ([1, None, 2], "there is no id")])
def test_ids_must_be_unique(
    tmp_path: Path, triton: Triton, database: tuple[str, Read], ids: list[int | None], said: str
) -> None:
    corpus = tmp_path / "corpus.parquet"
    parquet.write_table(pa.table({"key": pa.array(ids, pa.int64()), "body": ["a", "b", "c"]}), corpus)
    for _ in range(2):  # the second run must not take the first id for one that the table has
        refused = run(corpus, triton, database[0], "--block-rows", "1")
        assert refused.returncode == 1
        assert f"column 'key': {said}" in refused.stderr


def test_ids_of_another_type_are_refused(tmp_path: Path, triton: Triton, database: tuple[str, Read]) -> None:
    corpus = tmp_path / "corpus.parquet"
    parquet.write_table(pa.table({"key": [1, 2], "body": ["a", "b"]}), corpus)
    assert run(corpus, triton, database[0]).returncode == 0
    parquet.write_table(pa.table({"key": pa.array([2, 3], pa.int32()), "body": ["b", "c"]}), corpus)
    assert run(corpus, triton, database[0]).returncode == 0
    assert sorted(database[1]()) == [1, 2, 3]
    parquet.write_table(pa.table({"key": ["3", "4"], "body": ["c", "d"]}), corpus)
    refused = run(corpus, triton, database[0])
    assert refused.returncode == 1
    assert "the ids in the table 'embed_to_table' are" in refused.stderr
    assert sorted(database[1]()) == [1, 2, 3]


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_what_postgresql_cannot_store_is_named(tmp_path: Path, triton: Triton, database: tuple[str, Read]) -> None:
    corpus = tmp_path / "corpus.parquet"
    parquet.write_table(pa.table({"key": [1, 2], "body": ["a", "b\0c"]}), corpus)
    refused = run(corpus, triton, database[0])
    assert refused.returncode == 1
    assert "the text or the id of 2 holds the character NUL" in refused.stderr


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_options_of_the_url_are_kept(corpus: Path, triton: Triton, database: tuple[str, Read]) -> None:
    import psycopg

    url, _ = database
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA other")
    sign = "&" if "?" in url else "?"
    assert run(corpus, triton, f"{url}{sign}options=-csearch_path%3Dother%2Cpublic").returncode == 0
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM other.embed_to_table").fetchone() == (ROWS,)


@pytest.mark.parametrize("name", ["a b", "", "a%sb", "public.documents", "vector_spaces", 'x"; DROP TABLE y; --'])
def test_a_name_that_no_table_can_have_is_refused(
    corpus: Path, triton: Triton, database: tuple[str, Read], name: str
) -> None:
    refused = run(corpus, triton, database[0], "--table", name)
    assert refused.returncode == 1
    assert "give --table at most 63 letters" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_no_password_is_printed(corpus: Path, triton: Triton) -> None:
    refused = run(corpus, triton, "postgresql+psycopg://me:secret@host/database")
    assert "postgresql+psycopg://host/database" in refused.stderr
    assert "secret" not in refused.stderr
