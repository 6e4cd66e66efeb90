"""`qwen3-triton rerank`, from its arguments to its table. The network is a function (see conftest)."""

from __future__ import annotations

import io
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from qwen3_client import Client
from qwen3_client.cli.main import main
from qwen3_client.cli.rerank import shown
from qwen3_client.pair_template import QWEN_TEMPLATE

if TYPE_CHECKING:
    from unit.client.conftest import SlowTransport

pytestmark = pytest.mark.usefixtures("transport")


def rerank(*arguments: str) -> int:
    return main(["rerank", *arguments])


def test_the_best_comes_first_in_a_table(transport: SlowTransport, capsys: pytest.CaptureFixture[str]) -> None:
    # A token per byte, so that the shortest document comes first. A control character is not handed to the terminal.
    transport.judge = lambda input_ids: (1 - input_ids.shape[1] / 1000, 0.0)
    tokens = len(QWEN_TEMPLATE.format(instruction="Find it", query="q", document="").encode())
    assert rerank("q", "ccc", "a\n  a\x1b[31m", "b") == 0
    output = capsys.readouterr()
    assert output.out.splitlines() == [
        "rank   score  index  document",
        f"   1  {1 - (tokens + 1) / 1000:.4f}      2  b",
        f"   2  {1 - (tokens + 3) / 1000:.4f}      0  ccc",
        f"   3  {1 - (tokens + 10) / 1000:.4f}      1  a a?[31m",
    ]
    assert output.err == ""


@pytest.mark.parametrize("given_by", ["arguments", "file", "stdin", "dash"])
def test_json_lines_are_the_client_s_ranks(
    given_by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    documents = ["жил", "two", "三"]
    content = "\ufeffжил\r\ntwo\n三".encode()
    source = tmp_path / "documents.txt"
    source.write_bytes(content)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    arguments = {"arguments": documents, "file": ["--file", str(source)], "stdin": [], "dash": ["--file", "-"]}[
        given_by
    ]
    assert rerank("q", *arguments, "--instruction", "Sort", "--top-k", "2", "--json") == 0
    with Client() as client:
        best = client.rank("q", documents, instruction="Sort", top_k=2)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {**asdict(entry), "document": documents[entry.index]} for entry in best
    ]


def test_what_was_cut_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert rerank("q" * 5000, "a", "x" * 1000) == 0
    output = capsys.readouterr()
    assert "cut the end of 1 of these 2 documents" in output.err
    assert "cut the end of the query for 2 of these 2 documents, to leave room for the document" in output.err
    assert rerank("q", "a") == 0
    assert capsys.readouterr().err == ""


def test_a_terminal_s_lines_are_cut_and_a_file_s_are_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert rerank("q", "x" * 100) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("  " + "x" * 100)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert rerank("q", "x" * 100) == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert len(line) == 40
    assert line.endswith("  " + "x" * 16 + "...")


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdefg", 6, "abc..."),
        ("北京市", 6, "北京市"),
        ("北京市区", 6, "北..."),
        ("北京市区", 7, "北京..."),
        ("e\u0301" * 6, 6, "e\u0301" * 6),
        ("abc", 2, "..."),
        (" a \t\n b ", None, "a b"),
        ("a\x00\x9bb", None, "a??b"),
    ],
)
def test_what_fits_is_counted_in_columns(text: str, columns: int | None, expected: str) -> None:
    assert shown(text, columns=columns) == expected


def test_what_the_terminal_cannot_write_is_a_question_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr("sys.stdout", terminal)
    assert rerank("q", "é 北") == 0
    terminal.seek(0)
    assert terminal.read().endswith("  é ?\n")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["q", "a", "--file", "x.txt"], 2, "give documents as arguments or in --file, not both"),
        (["q", "--file", os.devnull], 2, "there are no documents: give them"),
        (["q", "--file", "nowhere.txt"], 1, "nowhere.txt: No such file or directory"),
        (["q", "a", "--top-k", "0"], 2, "--top-k must be at least 1, not 0"),
        (["q", "a", "--instruction", ""], 2, "--instruction must not be empty: leave it out"),
        (["q", "a", "--url", "localhost:99999"], 1, "its port is '99999', not a number from 1 to 65535"),
        (["", "a"], 1, "the query must not be empty"),
        (["q", "a", ""], 1, "document 1: a document must not be empty"),
        (["q", "a", "--url", "ftp://host"], 1, "ftp:// is not supported"),
        (["q", "a", "--timeout", "0"], 2, "--timeout must be a positive number of seconds, not 0"),
        (["q", "a", "--tokenizer", "/nowhere"], 1, "there is no such folder"),
        (
            ["q", "a", "--model", "nonesuch"],
            1,
            "no model 'nonesuch'; its rerankers are: qwen3_reranker; name one of them with --model",
        ),
        (["q", "a", "--model", "qwen3_embedding"], 1, "does not work with this client as its reranker"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], status: int, said: str, transport: SlowTransport, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rerank(*arguments) == status
    output = capsys.readouterr()
    assert output.err.startswith("qwen3-triton rerank: ")
    assert said in output.err
    assert output.err.count("\n") == 1
    assert output.out == ""
    assert transport.count == 0


def test_a_blank_line_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.txt").write_bytes(b"one\n\n")
    assert rerank("q", "--file", str(tmp_path / "x.txt")) == 1
    assert "x.txt, line 2 is blank; remove it" in capsys.readouterr().err
