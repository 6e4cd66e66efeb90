"""`qwen3-triton embed`, from its arguments to its files. The network is a function (see conftest)."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import pytest
from qwen3_client import Client, ServerTimeoutError
from qwen3_client.cli.main import main
from qwen3_client.quantization import Calibration, Dtype, quantize

if TYPE_CHECKING:
    from unit.client.conftest import SlowTransport

pytestmark = pytest.mark.usefixtures("transport")


def embed(*arguments: str) -> int:
    return main(["embed", *arguments])


def stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_texts_become_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert embed("one", "two") == 0
    output = capsys.readouterr()
    lines = [json.loads(line) for line in output.out.splitlines()]
    with Client() as client:
        expected = client.encode_document(["one", "two"])
    assert [line["index"] for line in lines] == [0, 1]
    np.testing.assert_array_equal(np.array([line["embedding"] for line in lines], dtype=np.float32), expected)
    # No progress bar where nobody looks, and one line that says what happened.
    assert re.fullmatch(r"wrote stdout: float32 \[2, 64\] in \d+\.\d s \(\d+\.\d texts/s\)\n", output.err), output.err


@pytest.mark.parametrize("given_by", ["file", "stdin", "dash"])
def test_lines_of_a_file_or_of_stdin(given_by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = "\ufeffжил\r\ntwo\n三".encode()
    source, target = tmp_path / "texts.txt", tmp_path / "x.npy"
    source.write_bytes(content)
    stdin(monkeypatch, content)
    arguments = {"file": ["--file", str(source)], "stdin": [], "dash": ["--file", "-"]}[given_by]
    assert embed(*arguments, "--query", "--instruction", "Sort", "--dimensions", "32", "--output", str(target)) == 0
    with Client() as client:
        expected = client.encode_query(["жил", "two", "三"], instruction="Sort", dimensions=32)
    np.testing.assert_array_equal(np.load(target), expected)


def test_jsonl_is_the_same_as_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert embed("one", "two") == 0
    printed = capsys.readouterr().out
    assert embed("one", "two", "--output", str(tmp_path / "x.jsonl")) == 0
    assert (tmp_path / "x.jsonl").read_text(encoding="utf-8") == printed
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("dtype", ["float16", "int8", "uint8", "binary", "ubinary"])
def test_every_dtype_in_files_and_lines(dtype: Dtype, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Client() as client:
        vectors = client.encode_document([str(number) for number in range(100)])
    calibration = Calibration.of(vectors) if dtype in ("int8", "uint8") else None
    arguments = ["0", "1", "2", "--dtype", dtype]
    if calibration is not None:
        calibration.save(tmp_path / "x.npz")
        arguments += ["--calibration", str(tmp_path / "x.npz")]
    expected = quantize(vectors[:3], dtype, calibration=calibration)
    assert embed(*arguments) == 0
    output = capsys.readouterr()
    lines = [json.loads(line) for line in output.out.splitlines()]
    np.testing.assert_array_equal(np.array([line["embedding"] for line in lines]), expected)
    assert f"wrote stdout: {dtype} [3, {expected.shape[1]}] in" in output.err
    assert embed(*arguments, "--output", str(tmp_path / "x.npy")) == 0
    read = np.load(tmp_path / "x.npy")
    assert read.dtype == expected.dtype
    np.testing.assert_array_equal(read, expected)


def test_a_text_that_looks_like_a_file_which_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert embed("nowhere.csv") == 0
    assert embed("x" * 100 + ".csv" + "\0" + "y" * 5000) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a", "--output", "x.csv"], "must end in .jsonl or .npy"),
        (["a", "--output", "nowhere/x.npy"], "there is no folder nowhere"),
        (["a", "--file", "texts.txt"], "not both"),
        (["a", "--instruction", "Sort"], "add --query"),
        (["--file", os.devnull], "no texts"),
        (["a", "--dtype", "int8"], "--dtype int8 needs --calibration"),
        (["a", "--calibration", "x.npz"], "--calibration is for --dtype int8 and uint8"),
        (["a", "--to", "lance://x"], "--to is for a corpus: add --text-column"),
        (["a", "--id-column", "id"], "--id-column is for a corpus: add --text-column"),
        (["a", "--skip-empty"], "--skip-empty is for a corpus"),
        (["a", "--restart"], "--restart is for a corpus"),
        (["a", "--block-rows", "9"], "--block-rows is for a corpus"),
        (["a", "--instruction", "", "--query"], "--instruction must not be empty: leave it out"),
        (["a", "--model", ""], "--model must not be empty: leave it out"),
        (["a", "--timeout", "0"], "--timeout must be a positive number of seconds, not 0"),
        (["a", "--timeout", "nan"], "--timeout must be a positive number of seconds, not nan"),
        (["a", "--dimensions", "7"], "--dimensions must be from 32 to 64, not 7"),
        (["here.csv"], "here.csv is a file: add --text-column"),
    ],
)
def test_arguments_that_make_no_sense(
    arguments: list[str],
    said: str,
    transport: SlowTransport,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here.csv").write_text("text\none\n", encoding="utf-8")
    assert embed(*arguments) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("qwen3-triton embed: ")
    assert said in errors
    assert errors.count("\n") == 1
    assert transport.count == 0


@pytest.mark.parametrize("link", ["itself", "symbolic", "hard", "stdin"])
def test_an_output_that_is_an_input_is_refused(
    link: str,
    transport: SlowTransport,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("texts.jsonl").write_text("one\n", encoding="utf-8")
    output, arguments, name = Path("texts.jsonl"), ["--file", "texts.jsonl"], "--file"
    if link == "symbolic":
        output = Path("soft.jsonl")
        output.symlink_to("texts.jsonl")
    elif link == "hard":
        output = Path("hard.jsonl")
        output.hardlink_to("texts.jsonl")
    if link == "stdin":
        command = [sys.executable, "-m", "qwen3_client", "embed", "--output", "texts.jsonl", "--url", "127.0.0.1:1"]
        with Path("texts.jsonl").open("rb") as file:
            done = subprocess.run(command, stdin=file, capture_output=True, text=True, timeout=60, check=False)
        status, said, name = done.returncode, done.stderr, "stdin"
    else:
        status = embed(*arguments, "--output", str(output))
        said = capfd.readouterr().err
    assert status == 2
    assert f"cannot write {output}: it is the same file as {name}, which would be lost" in said
    assert Path("texts.jsonl").read_text(encoding="utf-8") == "one\n"
    assert transport.count == 0


def test_a_stdout_that_is_an_input_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("one\n", encoding="utf-8")
    command = [sys.executable, "-m", "qwen3_client", "embed", "--file", str(path), "--url", "127.0.0.1:1"]
    with path.open("a", encoding="utf-8") as file:
        done = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "cannot write to stdout: it is the same file as --file" in done.stderr
    assert path.read_text(encoding="utf-8") == "one\n"


def test_what_is_cut_is_said_and_can_be_refused(transport: SlowTransport, capsys: pytest.CaptureFixture[str]) -> None:
    # A token for each byte, of which the model takes 127 and the end-of-text token; "é" has two bytes.
    texts = ["x" * 127, "y" * 128, "é" * 100, "z" * 327]
    assert embed(*texts) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[1:] == [
        "cut the end of 3 texts to fit the model's 128 tokens: 238 characters in all, about 278 tokens; "
        "--no-truncate refuses such texts instead"
    ]
    before = transport.count
    assert embed(texts[0], "--no-truncate") == 0
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert embed(*texts, "--no-truncate") == 1
    refused = capsys.readouterr().err
    assert refused.startswith("qwen3-triton embed: text 1: ")
    assert "leave out --no-truncate to cut it" in refused
    assert "truncate=" not in refused
    assert transport.count == before + 2  # of the four texts, the one before the first that is too long


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"one\n\nthree\n", "texts.txt, line 2 is blank; remove it"),
        (b"one\n \t\n", "texts.txt, line 2 is blank"),
        (b"one\ntwo\n\xff\n", "texts.txt, line 3 is not UTF-8"),
        (None, "texts.txt: No such file or directory"),
    ],
)
def test_a_bad_file_names_its_line_and_leaves_no_output(
    content: bytes | None,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("texts.txt").write_bytes(content)
    assert embed("--file", "texts.txt", "--output", "x.npy") == 1
    assert f"qwen3-triton embed: {said}" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == (["texts.txt"] if content else [])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a", "--url", "ftp://host"], "ftp"),
        (["a", "--url", "localhost:99999"], "its port is '99999', not a number from 1 to 65535"),
        (["a", "", "b"], "text 1: a text must not be empty"),
        (["a", "--dtype", "int8", "--calibration", "/nowhere.npz"], "/nowhere.npz: No such file"),
        (["a", "--tokenizer", "/nowhere"], "there is no such folder"),
    ],
)
def test_errors_are_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert embed(*arguments) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("qwen3-triton embed: ")
    assert said in errors
    assert errors.count("\n") == 1


def test_a_failing_server_is_one_line_too(transport: SlowTransport, capsys: pytest.CaptureFixture[str]) -> None:
    def answer(_: object) -> NoReturn:
        raise ServerTimeoutError("no answer\nat all")

    transport.answer = answer
    assert embed("a", "b") == 1
    assert capsys.readouterr().err == "qwen3-triton embed: text 0: no answer at all\n"


def test_a_reader_that_has_enough_ends_it_quietly(tmp_path: Path) -> None:
    # A process of its own, with a genuine pipe: what matters is also what Python says when it exits.
    (tmp_path / "texts.txt").write_text("a text\n" * 10_000)
    program = textwrap.dedent("""
        import sys
        from qwen3_client import session
        from qwen3_client.cli.main import main
        from qwen3_client.transports import FakeTransport

        session.connect = lambda options: FakeTransport()
        sys.exit(main(["embed", "--file", sys.argv[1]]))
    """)
    with subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / "texts.txt"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["index"] == 0
        process.stdout.close()
        assert process.wait(timeout=60) == 0
        assert process.stderr.read() == ""
