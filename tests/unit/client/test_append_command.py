"""`qwen3-triton embed CORPUS --append-to FILE`: new rows only, of the same space only, at once or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from qwen3_client import Client, InferenceError
from qwen3_client.bulk.parts import Parts
from qwen3_client.cli.subcommands import parse, run
from unit.client.conftest import vector_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from unit.client.conftest import SlowTransport

TEXTS = [f"text {'x' * (number % 9)}{number}" for number in range(260)]
IDS = [f"id {number}" for number in range(len(TEXTS))]
OPTIONS = ["--text-column", "text", "--id-column", "id", "--block-rows", "20"]
APPEND = ["c.parquet", *OPTIONS, "--append-to", "v.parquet"]


def embed(*arguments: str) -> int:
    name, command, args = parse(["embed", *arguments])
    assert command is not None
    return run(name, command, args, takes_ctrl_c=False)


def write_corpus(rows: slice, name: str = "c.parquet") -> None:
    parquet.write_table(pa.table({"id": IDS[rows], "text": TEXTS[rows]}), name)


def model(transport: SlowTransport, letter: str) -> None:
    transport.configs["qwen3_embedding"]["parameters"]["model_sha256"] = {"string_value": letter * 64}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, transport: SlowTransport, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with v.parquet, of the first 150 texts, and a corpus that has grown to all of them."""
    monkeypatch.chdir(tmp_path)
    model(transport, "a")
    write_corpus(slice(150))
    assert embed("c.parquet", *OPTIONS, "--output", "v.parquet") == 0
    write_corpus(slice(None))
    return tmp_path


def expected() -> NDArray[np.float32]:
    with Client() as client:
        return client.encode_document(TEXTS)


def assert_complete() -> None:
    table = parquet.read_table("v.parquet")
    assert table["id"].to_pylist() == IDS
    np.testing.assert_array_equal(np.array(table["embedding"].to_pylist(), np.float32), expected())
    assert sorted(path.name for path in Path().iterdir()) == ["c.parquet", "v.parquet"]


def test_only_new_rows_are_embedded(transport: SlowTransport, capsys: pytest.CaptureFixture[str]) -> None:
    before = transport.count
    assert embed(*APPEND) == 0
    assert transport.count - before == 110
    assert "wrote v.parquet: float32 [260, 64] in" in capsys.readouterr().err
    assert_complete()


def test_a_second_time_there_is_nothing_to_do(transport: SlowTransport, capsys: pytest.CaptureFixture[str]) -> None:
    assert embed(*APPEND) == 0
    content, before = Path("v.parquet").read_bytes(), transport.count
    assert embed(*APPEND) == 0
    assert (Path("v.parquet").read_bytes(), transport.count) == (content, before)
    assert "v.parquet has the vectors of all texts of c.parquet already" in capsys.readouterr().err


def test_a_corpus_of_new_rows_alone(here: Path) -> None:
    write_corpus(slice(140, None))  # some of them not new, in any order
    assert embed(*APPEND) == 0
    write_corpus(slice(None))
    assert_complete()
    assert here.exists()


def test_rows_without_ids_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert embed("c.parquet", *OPTIONS[:2], "--output", "rows.parquet") == 0
    assert embed("c.parquet", *OPTIONS[:2], "--append-to", "rows.parquet") == 2
    assert "--append-to needs --id-column" in capsys.readouterr().err


@pytest.mark.parametrize("third", ["id 3", None])
def test_a_row_without_an_id_is_not_taken_for_a_known_one(
    third: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = ["id 0", "id 1", "id 2", third, "id 4"]
    parquet.write_table(pa.table({"id": ids, "text": TEXTS[:5]}), "k.parquet")
    assert embed("k.parquet", *OPTIONS, "--output", "kv.parquet") == 0
    parquet.write_table(pa.table({"id": ["id 0", "id 9", None], "text": TEXTS[:3]}), "k.parquet")
    assert embed("k.parquet", *OPTIONS, "--append-to", "kv.parquet") == 1
    assert "k.parquet, row 2 (the first is 0): there is no id in column 'id'" in capsys.readouterr().err
    assert parquet.read_table("kv.parquet").num_rows == 5


def test_special_tokens_are_part_of_the_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert embed(*APPEND, "--special-tokens") == 1
    assert "special_tokens was None, is True" in capsys.readouterr().err


def test_int8_keeps_the_file_s_calibration() -> None:
    write_corpus(slice(150))
    assert embed("c.parquet", *OPTIONS, "--dtype", "int8", "--output", "codes.parquet") == 0
    ranges = Path("codes.calibration.npz").read_bytes()
    old = parquet.read_table("codes.parquet")
    write_corpus(slice(None))
    assert embed("c.parquet", *OPTIONS, "--dtype", "int8", "--append-to", "codes.parquet") == 0
    assert Path("codes.calibration.npz").read_bytes() == ranges
    assert parquet.read_table("codes.parquet").slice(0, 150).equals(old)
    Path("codes.calibration.npz").unlink()
    assert embed("c.parquet", *OPTIONS, "--dtype", "int8", "--append-to", "codes.parquet") == 1


def test_another_space_is_refused(transport: SlowTransport, capsys: pytest.CaptureFixture[str]) -> None:
    content, before = Path("v.parquet").read_bytes(), transport.count
    model(transport, "b")
    capsys.readouterr()
    assert embed(*APPEND) == 1
    description = json.loads(parquet.read_schema("v.parquet").metadata[b"qwen3_triton"])
    with Client() as client:
        served = client.info().fingerprint
    error = capsys.readouterr().err
    assert f"have the fingerprint {description['fingerprint']}, but the served model has {served}" in error
    assert (Path("v.parquet").read_bytes(), transport.count) == (content, before)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--dimensions", "32"], "dimensions was 64, is 32"),
        (["--dtype", "float16"], "dtype was 'float32', is 'float16'"),
        (["--query"], "kind was 'document', is 'query'"),
    ],
)
def test_another_form_is_refused(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert embed(*APPEND, *options) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([*APPEND, "--output", "w.parquet"], 2, "contradict each other"),
        (["c.parquet", *OPTIONS, "--append-to", "none.parquet"], 2, "not an existing .parquet file"),
        (["c.parquet", "--text-column", "text", "--append-to", "v.parquet"], 2, "--append-to needs --id-column"),
        ([*APPEND, "--id-column", "text"], 1, "has the columns id (string)"),
        (["c.parquet", *OPTIONS, "--append-to", "foreign.parquet"], 1, "another program wrote it"),
        (["text", "--append-to", "v.parquet"], 2, "--append-to is for a corpus"),
        ([*APPEND, "--dtype", "int8", "--calibration", "x.npz"], 2, "leave out --calibration"),
    ],
)
def test_what_cannot_be_appended_to(
    arguments: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parquet.write_table(parquet.read_table("v.parquet").replace_schema_metadata(None), "foreign.parquet")
    assert embed(*arguments) == status
    assert said in capsys.readouterr().err


def test_a_failed_run_leaves_the_file_alone_and_goes_on(transport: SlowTransport) -> None:
    content = Path("v.parquet").read_bytes()
    with Client() as client:
        bad = client.tokenize([TEXTS[230]])[0].tolist()

    def fail(input_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        if input_ids[0].tolist() == bad:
            raise InferenceError("as if it crashed")
        return vector_of(input_ids)

    transport.answer = fail
    assert embed(*APPEND) == 1
    assert Path("v.parquet").read_bytes() == content
    transport.answer = vector_of
    before = transport.count
    assert embed(*APPEND) == 0
    assert transport.count - before < 110
    assert_complete()


def test_a_kill_just_after_the_file_was_replaced_appends_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(_parts: Parts) -> Any:  # noqa: ANN401
        raise OSError("as if it were killed here")

    with monkeypatch.context() as patch:
        patch.setattr(Parts, "remove", killed)
        assert embed(*APPEND) == 1
    assert Path("v.parquet.parts/job.json").exists()
    assert parquet.read_table("v.parquet").num_rows == 260
    assert embed(*APPEND) == 0
    assert_complete()
