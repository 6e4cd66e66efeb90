"""`qwen3-triton embed CORPUS --text-column NAME`, from its arguments to its files. The network is a function."""

from __future__ import annotations

import csv
import itertools
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pyarrow import parquet
from qwen3_client import Client, InferenceError
from qwen3_client.bulk import output as output_module
from qwen3_client.bulk.description import read_description
from qwen3_client.bulk.unfinished import UnfinishedBlocks
from qwen3_client.cli.subcommands import parse, run
from qwen3_client.quantization import DTYPES, Calibration, Dtype, quantize
from unit.client.conftest import vector_of

if TYPE_CHECKING:
    from unit.client.conftest import SlowTransport

pytestmark = pytest.mark.usefixtures("transport")

# Of many lengths, so that blocks are not embedded in the order of their rows.
TEXTS = [f"{number}: " + ('ж"q",\n😀' * (number * 7 % 11)).strip() for number in range(330)]
IDS = [f"id {number}" for number in range(len(TEXTS))]


def embed(*arguments: str) -> int:
    # Without `main`, which sets what Ctrl-C does to the whole process.
    name, command, args = parse(["embed", *arguments])
    assert command is not None
    return run(name, command, args, takes_ctrl_c=False)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the corpus in every format, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    parquet.write_table(pa.table({"id": IDS, "text": TEXTS}), "c.parquet", row_group_size=100)
    with Path("c.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "text"), *zip(IDS, TEXTS, strict=True)])
    rows = [json.dumps({"id": key, "text": text}) for key, text in zip(IDS, TEXTS, strict=True)]
    Path("c.jsonl").write_text("\n".join(rows), encoding="utf-8")
    Path("c.txt").write_text("".join(text.replace("\n", " ") + "\n" for text in TEXTS), encoding="utf-8")
    return tmp_path


def expected(
    dtype: Dtype = "float32", *, dimensions: int | None = None, sample: int = len(TEXTS), texts: list[str] = TEXTS
) -> NDArray[Any]:
    """What the vectors should be, from single texts through `encode_document`."""
    with Client() as client:
        vectors = client.encode_document(texts, dimensions=dimensions)
    return quantize(vectors, dtype, calibration=calibration_for(dtype, vectors[:sample]))


def calibration_for(dtype: Dtype, sample: NDArray[np.float32]) -> Calibration | None:
    return Calibration.of(sample) if dtype in ("int8", "uint8") else None


def read(path: str) -> NDArray[Any]:
    if path.endswith(".npy"):
        return np.asarray(np.load(path))
    vectors = parquet.read_table(path)["embedding"].combine_chunks()
    array: NDArray[Any] = vectors.flatten().to_numpy().reshape(len(vectors), -1)
    return array


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("c."))


def described(output: str) -> list[str]:
    """An output and, if its format has no room for a description, the file that has it."""
    return ["v.about.json", output] if output == "v.npy" else [output]


@pytest.mark.parametrize("name", ["c.parquet", "c.csv", "c.jsonl"])
@pytest.mark.parametrize("block_rows", ["7", "100", "4096"])
def test_every_format_gives_every_row_once_and_in_order(
    name: str, block_rows: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [name, "--text-column", "text", "--block-rows", block_rows]
    assert embed(*arguments, "--id-column", "id", "--output", "v.parquet") == 0
    assert embed(*arguments, "--output", "v.npy") == 0
    assert names(here) == ["v.about.json", "v.npy", "v.parquet"]
    table = parquet.read_table("v.parquet")
    assert table.schema.types == [pa.string(), pa.list_(pa.float32(), 64)]
    assert table["id"].to_pylist() == IDS
    np.testing.assert_array_equal(read("v.parquet"), expected())
    np.testing.assert_array_equal(read("v.npy"), expected())
    output = capsys.readouterr()
    assert output.out == ""
    number = r"\d+\.\d"
    lines = [
        rf"wrote {path}: float32 \[330, 64\] in {number} s \({number} texts/s, {number} tokens/s\)"
        for path in ("v.parquet", "v.npy")
    ]
    assert re.fullmatch("\n".join(lines) + "\n", output.err), output.err


def test_lines_of_a_txt(here: Path) -> None:
    assert embed("c.txt", "--text-column", "text", "--output", "v.parquet") == 0
    table = parquet.read_table("v.parquet")
    assert table.column_names == ["row", "embedding"]
    assert table["row"].to_pylist() == list(range(len(TEXTS)))
    np.testing.assert_array_equal(read("v.parquet"), expected(texts=[text.replace("\n", " ") for text in TEXTS]))
    assert names(here) == ["v.parquet"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output", ["v.npy", "v.parquet"])
def test_every_dtype_with_fewer_dimensions_too(
    dtype: Dtype, output: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for dimensions in (64, 32):
        arguments = ["c.parquet", "--text-column", "text", "--dtype", dtype, "--block-rows", "100"]
        assert embed(*arguments, "--dimensions", str(dimensions), "--output", output) == 0
        wanted = expected(dtype, dimensions=dimensions)
        found = read(output)
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)
        assert f"wrote {output}: {dtype} [330, {wanted.shape[1]}] in" in capsys.readouterr().err
        if dtype in ("int8", "uint8"):
            with Client() as client:
                sample = client.encode_document(TEXTS, dimensions=dimensions)
            left = Calibration.load("v.calibration.npz")
            np.testing.assert_array_equal([left.low, left.high], [sample.min(axis=0), sample.max(axis=0)])
            assert names(here) == [*described(output)[:-1], "v.calibration.npz", output]
        else:
            assert names(here) == described(output)


def test_a_calibration_is_made_from_the_first_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_module, "_CALIBRATION_ROWS", 150)  # which the block of rows 100 to 199 reaches
    arguments = ["--text-column", "text", "--dtype", "int8", "--block-rows", "100", "--output", "v.parquet"]
    assert embed("c.parquet", *arguments) == 0
    np.testing.assert_array_equal(read("v.parquet"), expected("int8", sample=200))


def test_queries_are_quantized_with_the_calibration_that_a_corpus_left(capsys: pytest.CaptureFixture[str]) -> None:
    assert embed("c.parquet", "--text-column", "text", "--dtype", "int8", "--output", "v.parquet") == 0
    capsys.readouterr()
    options = ["--dtype", "int8", "--calibration", "v.calibration.npz"]
    assert embed("a query", "--query", *options) == 0
    with Client() as client:
        query = client.encode_query("a query")
    wanted = quantize(query, "int8", calibration=Calibration.load("v.calibration.npz"))
    np.testing.assert_array_equal(json.loads(capsys.readouterr().out)["embedding"], wanted)
    # Another corpus can be given it too, however small.
    Path("small.txt").write_text("one\ntwo\n", encoding="utf-8")
    assert embed("small.txt", "--text-column", "text", *options, "--output", "small.npy") == 0
    with Client() as client:
        small = client.encode_document(["one", "two"])
    loaded = Calibration.load("v.calibration.npz")
    np.testing.assert_array_equal(read("small.npy"), quantize(small, "int8", calibration=loaded))
    np.testing.assert_array_equal(Calibration.load("small.calibration.npz").low, loaded.low)


@pytest.mark.parametrize("output", ["v.npy", "v.parquet"])
def test_a_file_says_what_its_vectors_are(output: str, transport: SlowTransport) -> None:
    transport.configs["qwen3_embedding"]["parameters"]["model_sha256"] = {"string_value": "a" * 64}
    options = ["--query", "--dimensions", "32", "--dtype", "binary", "--output", output]
    assert embed("c.parquet", "--text-column", "text", *options) == 0
    about = read_description(Path(output))
    with Client() as client:
        info = client.info()
        np.testing.assert_array_equal(read(output), quantize(client.encode_query(TEXTS, dimensions=32), "binary"))
    assert about == {
        "source": info.source,
        "revision": info.revision,
        "precision": info.precision,
        "fingerprint": info.fingerprint,
        "tokenizer_sha256": info.tokenizer_sha256,
        "max_tokens": info.max_tokens,
        "kind": "query",
        "instruction": info.default_instruction,
        "dimensions": 32,
        "dtype": "binary",
        "arithmetic": None,  # of a model that does not say that it runs on a CPU
    }
    assert info.fingerprint is not None


def test_the_arithmetic_is_stated_if_one_server_made_all(transport: SlowTransport) -> None:
    def stated() -> object:
        return (read_description(Path("v.parquet")) or {})["arithmetic"]

    transport.configs["qwen3_embedding"]["parameters"]["device"] = {"string_value": "cpu"}
    assert embed(*JOB, "--output", "v.parquet") == 0
    first = stated()
    assert re.fullmatch("[0-9a-f]{16}", str(first))
    fail_at(transport, 200)
    assert embed(*JOB, "--output", "v.parquet") == 1
    transport.answer = lambda ids: vector_of(ids)[:, ::-1]  # another processor, let us say
    assert embed(*JOB, "--output", "v.parquet") == 0
    assert stated() is None
    assert embed(*JOB, "--output", "v.parquet") == 0
    assert stated() not in (None, first)


def test_a_run_is_not_resumed_with_another_model(transport: SlowTransport, capsys: pytest.CaptureFixture[str]) -> None:
    parameters = transport.configs["qwen3_embedding"]["parameters"]
    parameters["model_sha256"] = {"string_value": "a" * 64}
    fail_at(transport, 200)
    assert embed(*JOB, "--output", "v.parquet") == 1
    transport.answer = vector_of
    parameters["model_sha256"] = {"string_value": "b" * 64}
    capsys.readouterr()
    assert embed(*JOB, "--output", "v.parquet") == 1
    assert re.search(r"another job: fingerprint was '\w{16}', is '\w{16}'\. Run", capsys.readouterr().err)


# Going on.

JOB = ["c.csv", "--text-column", "text", "--id-column", "id", "--block-rows", "40"]


def fail_at(transport: SlowTransport, row: int) -> None:
    """Makes the server fail on the text of a row."""
    with Client() as client:
        bad = client.tokenize([TEXTS[row]])[0].tolist()

    def answer(input_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        if input_ids[0].tolist() == bad:
            raise InferenceError("out of memory")
        return vector_of(input_ids)

    transport.answer = answer


def kept_rows(said: str) -> int:
    """How many rows a stopped run says that it kept; 0 where it says nothing of it."""
    found = re.search(r"the vectors of ([\d,]+) rows are kept; run the same command again to resume\n", said)
    return 0 if found is None else int(found[1].replace(",", ""))


@pytest.mark.parametrize("dtype", ["float32", "int8", "ubinary"])
@pytest.mark.parametrize("output", ["v.npy", "v.parquet"])
def test_the_same_command_goes_on_after_a_failure(
    dtype: str,
    output: str,
    here: Path,
    transport: SlowTransport,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(output_module, "_CALIBRATION_ROWS", 100)
    job = [argument for argument in JOB if output.endswith(".parquet") or argument not in ("--id-column", "id")]
    command = [*job, "--dtype", dtype, "--output", output]
    assert embed(*command) == 0
    whole = {name: (here / name).read_bytes() for name in names(here)}
    for name in whole:
        (here / name).unlink()
    capsys.readouterr()

    kept = 0
    for bad, blocks in ((90, 2), (205, 5), (300, 7)):
        fail_at(transport, bad)
        assert embed(*command) == 1
        said = capsys.readouterr().err
        assert (f"resuming: the vectors of {kept} rows of c.csv are kept\n" in said) == (kept > 0)
        kept = kept_rows(said)
        assert said.endswith(f"\nqwen3-triton embed: row {bad}: out of memory\n")
        parts = sorted(path.name for path in (here / f"{output}.parts").glob("rows-*"))
        assert parts == [f"rows-{40 * part:012}-{40 * part + 40:012}.arrow" for part in range(blocks)]
        assert kept >= 40 * blocks
        assert names(here) == [f"{output}.parts"], "no output before its time"
    transport.answer = vector_of
    before = transport.count
    assert embed(*command) == 0
    assert transport.count - before == len(TEXTS) - kept
    start = f"resuming: the vectors of {kept} rows of c.csv are kept\nwrote {output}: {dtype} [330, "
    assert capsys.readouterr().err.startswith(start)
    assert {name: (here / name).read_bytes() for name in names(here)} == whole


def test_a_failure_while_joining_embeds_nothing_again(here: Path, transport: SlowTransport) -> None:
    Path("v.npy").mkdir()
    assert embed(*JOB[:3], "--output", "v.npy") == 2  # noticed before anything is sent
    Path("v.npy").rmdir()
    with Client() as client:
        client.encode_document("warm")
    before = transport.count

    def fill(input_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        Path("v.npy").mkdir(exist_ok=True)  # nothing can take its name now
        return vector_of(input_ids)

    transport.answer = fill
    assert embed(*JOB[:3], "--output", "v.npy") == 1
    assert transport.count - before == len(TEXTS)
    transport.answer = vector_of
    Path("v.npy").rmdir()
    assert embed(*JOB[:3], "--output", "v.npy") == 0
    assert transport.count - before == len(TEXTS)
    np.testing.assert_array_equal(read("v.npy"), expected())
    assert names(here) == described("v.npy")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--dtype", "int8"], "dtype was 'float32', is 'int8'"),
        (["--dimensions", "32"], "dimensions was 64, is 32"),
        (["--query"], "kind was 'document', is 'query'; instruction was None, is 'Find it'"),
        (["--block-rows", "41"], "block_rows was 40, is 41"),
    ],
)
def test_another_job_in_the_same_place_is_refused(
    change: list[str], said: str, here: Path, transport: SlowTransport, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*JOB, "--output", "v.parquet"]
    fail_at(transport, 100)
    assert embed(*command) == 1
    transport.answer = vector_of
    capsys.readouterr()
    assert embed(*command, *change) == 1
    message = capsys.readouterr().err
    assert f"v.parquet.parts holds the unfinished work of another job: {said}" in message
    assert "--restart" in message
    assert message.count("\n") == 1
    assert embed(*command, *change, "--restart") == 0
    assert "resumed" not in capsys.readouterr().err
    assert "v.parquet.parts" not in names(here)


def test_another_corpus_or_another_model_is_another_job(
    transport: SlowTransport, config: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*JOB, "--output", "v.parquet"]
    fail_at(transport, 100)
    assert embed(*command) == 1
    config["parameters"]["precision"]["string_value"] = "int8"
    assert embed(*command) == 1
    assert "another job: precision was 'fp32', is 'int8'" in capsys.readouterr().err
    config["parameters"]["precision"]["string_value"] = "fp32"
    with Path("c.csv").open("a", encoding="utf-8") as file:
        file.write("new,text\n")
    assert embed(*command) == 1
    assert re.search(r"another job: bytes was \d+, is \d+; modified_ns was", capsys.readouterr().err)


def test_a_corpus_that_changes_while_it_is_read_is_noticed(
    here: Path, transport: SlowTransport, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(input_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        Path("c.txt").touch()
        return vector_of(input_ids)

    transport.answer = answer
    assert embed("c.txt", "--text-column", "text", "--output", "v.npy") == 1
    assert "c.txt changed while it was read; embed it again with --restart" in capsys.readouterr().err
    assert "v.npy" not in names(here)


def test_embedding_a_finished_corpus_again_replaces_its_vectors(capsys: pytest.CaptureFixture[str]) -> None:
    Path("v.npy").write_bytes(b"old")
    for _ in range(2):
        assert embed(*JOB[:3], "--output", "v.npy") == 0
        assert "resumed" not in capsys.readouterr().err
        np.testing.assert_array_equal(read("v.npy"), expected())


# Stopped in the middle of a block.

ONE_BLOCK = ["c.parquet", "--text-column", "text", "--id-column", "id", "--output", "v.parquet"]  # all in one block


@contextmanager
def stop_after(requests: int, stop: type[BaseException], transport: SlowTransport) -> Iterator[None]:
    """Stops the process, as Ctrl-C or an error would, once so many texts are answered and, of more than one, some kept.

    The others are answered slowly then.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background of a shell ignores it
    main, answered, stops = threading.main_thread().ident, itertools.count(1), itertools.count()
    some_are_kept, is_over, keep = threading.Event(), threading.Event(), UnfinishedBlocks.keep

    def keep_and_tell(self: UnfinishedBlocks, *args: Any) -> None:  # noqa: ANN401
        keep(self, *args)
        some_are_kept.set()

    def answer(input_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        # If no call is finished yet, this answer may be the one that finishes it.
        if next(answered) >= requests and (requests == 1 or some_are_kept.wait(0.5)):
            if next(stops) == 0:
                if stop is not KeyboardInterrupt:
                    raise InferenceError("out of memory")
                signal.pthread_kill(main or 0, signal.SIGINT)
            is_over.wait(0.5)  # not for longer: closing may wait for work that needs one of these threads
        return vector_of(input_ids)

    transport.answer = answer
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(UnfinishedBlocks, "keep", keep_and_tell)
        try:
            yield
        finally:
            is_over.set()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, InferenceError])
def test_a_stop_in_a_block_keeps_what_is_finished_and_the_output_is_the_same(
    stop: type[BaseException], here: Path, transport: SlowTransport, capsys: pytest.CaptureFixture[str]
) -> None:
    assert embed(*ONE_BLOCK) == 0
    whole = Path("v.parquet").read_bytes()
    Path("v.parquet").unlink()
    capsys.readouterr()
    kept, stops = 0, 0
    while True:
        before = transport.count
        with stop_after(150, stop, transport):
            status = embed(*ONE_BLOCK)
        said = capsys.readouterr().err
        assert (f"resuming: the vectors of {kept} rows" in said) == (kept > 0)
        if status == 0:
            assert transport.count - before == len(TEXTS) - kept
            break
        stops += 1
        assert status == (130 if stop is KeyboardInterrupt else 1)
        if stop is KeyboardInterrupt:
            assert re.search(r"^qwen3-triton embed: interrupted; the vectors of \d+ rows are kept; ", said, re.M)
        assert kept_rows(said) > kept
        kept = kept_rows(said)
        assert names(here) == ["v.parquet.parts"]
        assert not list(Path("v.parquet.parts").glob("rows-*")), "its block is not finished"
    assert stops >= 2
    assert Path("v.parquet").read_bytes() == whole
    assert names(here) == ["v.parquet"]


def test_ctrl_c_before_anything_is_finished_leaves_nothing(
    here: Path, transport: SlowTransport, capsys: pytest.CaptureFixture[str]
) -> None:
    with stop_after(1, KeyboardInterrupt, transport):
        assert embed(*ONE_BLOCK) == 130
    assert names(here) == []
    assert capsys.readouterr().err == "qwen3-triton embed: interrupted\n"


# What was cut.


def test_what_is_cut_is_counted_over_all_runs(transport: SlowTransport, capsys: pytest.CaptureFixture[str]) -> None:
    # A token for each byte, of which the model takes 127 and the end-of-text token.
    texts = [*TEXTS[:100], "x" * 127, "x" * 128, "é" * 100, *TEXTS[100:200], "y" * 1127]
    parquet.write_table(pa.table({"text": texts}), "c.parquet")
    command = ["c.parquet", "--text-column", "text", "--block-rows", "40", "--output", "v.npy"]
    lost = sum(len(text) - len(text.encode()[:127].decode(errors="ignore")) for text in texts)
    cut = sum(len(text.encode()) > 127 for text in texts)
    with Client() as client:
        bad = client.tokenize([texts[190]])[0].tolist()

    def answer(input_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        if input_ids[0].tolist() == bad:
            raise InferenceError("out of memory")
        return vector_of(input_ids)

    transport.answer = answer
    assert embed(*command) == 1
    assert "cut" not in capsys.readouterr().err
    assert embed(*command, "--no-truncate") == 1
    assert "an earlier run without --no-truncate cut" in capsys.readouterr().err
    transport.answer = vector_of
    assert embed(*command) == 0
    said = capsys.readouterr().err
    assert f"\ncut the end of {cut} texts to fit the model's 128 tokens: {lost:,} characters in all, about " in said
    assert said.endswith(" tokens; --no-truncate refuses such texts instead\n")
    assert embed(*command, "--no-truncate", "--restart") == 1
    first = next(row for row, text in enumerate(texts) if len(text.encode()) > 127)
    refused = capsys.readouterr().err
    assert f"qwen3-triton embed: row {first}: " in refused
    assert "leave out --no-truncate to cut it" in refused
    assert "truncate=" not in refused


# What is refused.


@pytest.mark.parametrize("link", ["itself", "symbolic", "hard"])
def test_an_output_that_is_the_corpus_is_refused(
    link: str, here: Path, transport: SlowTransport, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path("c.parquet").read_bytes()
    output = {"itself": Path("c.parquet"), "symbolic": Path("soft.parquet"), "hard": Path("hard.parquet")}[link]
    if link == "symbolic":
        output.symlink_to("c.parquet")
    elif link == "hard":
        output.hardlink_to("c.parquet")
    for path in (output, here / "." / output):
        assert embed("c.parquet", "--text-column", "text", "--output", str(path)) == 2
        said = capsys.readouterr().err
        assert f"cannot write {path}: it is the same file as the corpus, which would be lost" in said
    assert Path("c.parquet").read_bytes() == before
    assert transport.count == 0


def test_a_calibration_that_would_be_written_over_the_corpus_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("v.calibration.npz").symlink_to("c.csv")
    assert embed("c.csv", "--text-column", "text", "--dtype", "int8", "--output", "v.npy") == 2
    assert "cannot write v.calibration.npz: it is the same file as the corpus" in capsys.readouterr().err


def test_a_calibration_that_is_read_is_left_as_it_is() -> None:
    command = ["c.csv", "--text-column", "text", "--dtype", "int8", "--output", "v.npy"]
    assert embed(*command) == 0
    vectors, ranges = Path("v.npy").read_bytes(), Path("v.calibration.npz").stat()
    assert embed(*command, "--calibration", "v.calibration.npz") == 0
    assert Path("v.npy").read_bytes() == vectors
    after = Path("v.calibration.npz").stat()
    assert (after.st_ino, after.st_mtime_ns) == (ranges.st_ino, ranges.st_mtime_ns)


def test_an_empty_text_stops_it_before_its_block_is_sent_and_can_be_left_out(
    here: Path, transport: SlowTransport, capsys: pytest.CaptureFixture[str]
) -> None:
    parquet.write_table(pa.table({"id": IDS, "text": [*TEXTS[:99], None, "", *TEXTS[101:]]}), "c.parquet")
    command = ["c.parquet", "--text-column", "text", "--id-column", "id", "--block-rows", "50", "--output", "v.parquet"]
    assert embed(*command) == 1
    said = capsys.readouterr().err
    assert "c.parquet, row 99 (the first is 0), column 'text': there is no text; add --skip-empty" in said
    assert said.count("\n") == 1 + (kept_rows(said) > 0)
    assert "v.parquet" not in names(here)
    assert transport.count <= 50
    assert embed(*command, "--skip-empty") == 0
    table = parquet.read_table("v.parquet")
    assert table["id"].to_pylist() == [*IDS[:99], *IDS[101:]]
    np.testing.assert_array_equal(read("v.parquet"), expected(texts=[*TEXTS[:99], *TEXTS[101:]]))


def test_too_few_rows_to_calibrate(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("small.txt").write_text("one\ntwo\n", encoding="utf-8")
    assert embed("small.txt", "--text-column", "text", "--dtype", "int8", "--output", "v.npy") == 1
    assert "at least 100 vectors, [n, d], not [2, 64]" in capsys.readouterr().err
    assert "v.npy" not in names(here)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--output", "v.jsonl"], 2, "for a corpus the name must end in .npy or .parquet"),
        (["--output", "nowhere/v.npy"], 2, "there is no folder nowhere"),
        ([], 2, "--text-column needs --output x.parquet, --output x.npy, --append-to x.parquet or --to URL"),
        (["--to", "lance://x"], 2, "--to needs --id-column: the ids are the primary key of the table"),
        (
            ["--id-column", "id", "--to", "lance://x", "--output", "v.npy"],
            2,
            "--to, --output and --append-to contradict",
        ),
        (["--id-column", "id", "--to", "lance://x", "--dtype", "binary"], 2, "--to writes float32 or float16, not bin"),
        (["--id-column", "id", "--to", "lance://x", "--restart"], 2, "--restart is not for --to: remove the table"),
        (["--id-column", "id", "--to", "mysql://x"], 1, "cannot write to 'mysql://x': give postgresql://"),
        (["--table", "t", "--output", "v.npy"], 2, "--table is for --to"),
        (["c.txt", "--output", "v.npy"], 2, "give exactly one argument, the file of the corpus"),
        (["--file", "c.txt", "--output", "v.npy"], 2, "give exactly one argument, the file of the corpus"),
        (
            ["--id-column", "id", "--output", "v.npy"],
            2,
            "a .npy file cannot hold the ids of --id-column: write a .parquet",
        ),
        (["--skip-empty", "--output", "v.npy"], 2, "a .npy file cannot hold the row of each vector"),
        (["--id-column", "embedding", "--output", "v.parquet"], 2, "the column of vectors has the name 'embedding'"),
        (["--instruction", "Sort", "--output", "v.npy"], 2, "--instruction is for queries: add --query"),
        (["--calibration", "x.npz", "--output", "v.npy"], 2, "--calibration is for --dtype int8 and uint8"),
        (["--text-column", "body", "--output", "v.npy"], 1, "c.csv has no column 'body'; there are: id, text"),
        (["--id-column", "key", "--output", "v.parquet"], 1, "c.csv has no column 'key'; there are: id, text"),
        (["--block-rows", "0", "--output", "v.npy"], 1, "a block must have at least 1 row, not 0"),
        (["--dimensions", "65", "--output", "v.npy"], 2, "--dimensions must be from 32 to 64, not 65"),
        (["--instruction", "", "--query", "--output", "v.npy"], 2, "--instruction must not be empty: leave it out"),
        (
            ["--dimensions", "33", "--dtype", "binary", "--output", "v.npy"],
            1,
            "33 dimensions are not a multiple of eight",
        ),
        (["--dtype", "int8", "--calibration", "x.npz", "--output", "v.npy"], 1, "x.npz: No such file"),
    ],
)
def test_what_makes_no_sense_costs_nothing_and_leaves_nothing(
    arguments: list[str],
    status: int,
    said: str,
    here: Path,
    transport: SlowTransport,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert embed("--text-column", "text", "c.csv", *arguments) == status
    message = capsys.readouterr().err
    assert message.startswith("qwen3-triton embed: ")
    assert said in message
    assert message.count("\n") == 1
    assert transport.count == 0
    assert names(here) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("empty.txt", "empty.txt holds no texts"),
        ("no.txt", "no.txt: No such file or directory"),
        ("folder.csv", "folder.csv: Is a directory"),
        ("c.tsv", "the name must end in .csv, .jsonl, .parquet, .txt"),
    ],
)
def test_files_that_are_no_corpus(name: str, said: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty.txt").touch()
    Path("folder.csv").mkdir()
    assert embed(name, "--text-column", "text", "--output", "v.npy") == 1
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
    assert names(here) == ["empty.txt", "folder.csv"]


def test_without_pyarrow_the_extra_is_named_and_texts_still_work(here: Path) -> None:
    program = (
        "import sys; sys.modules['pyarrow'] = None; "
        "from qwen3_client.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, "embed", *arguments, "--url", "127.0.0.1:1"]
        return subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=60, check=False)

    bulk = run("c.csv", "--text-column", "text", "--output", "v.npy")
    assert bulk.returncode == 1
    assert "qwen3-triton embed needs the bulk extra: pip install 'qwen3-triton[bulk]'" in bulk.stderr
    assert bulk.stderr.count("\n") == 1
    assert "qwen3-triton serve" in run("text").stderr, "it got as far as the server"
