"""The command `qwen3-triton`: finding subcommands, and what it says when one cannot run."""

import argparse
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
import qwen3_client
from qwen3_client.cli.errors import in_options
from qwen3_client.cli.main import main

Declare = Callable[..., None]

COMMAND = """
HELP = "does {name}"
EXTRA = {extra!r}

def add_arguments(parser):
    parser.add_argument("word", nargs="?")
    parser.add_argument("--status", type=int, default=0)

def run(args):
    {body}
    return args.status
"""


@pytest.fixture
def declare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Declare:
    """Declares subcommands as an installed distribution would, each a module on disk."""
    entry_points: list[metadata.EntryPoint] = []
    monkeypatch.setattr("importlib.metadata.entry_points", lambda *, group: entry_points)  # noqa: ARG005
    monkeypatch.syspath_prepend(tmp_path)

    def declare_one(name: str, *, body: str = "pass", extra: str | None = None, head: str = "") -> None:
        module = f"command_{name}_{tmp_path.name.replace('-', '_')}"
        monkeypatch.delitem(sys.modules, module, raising=False)
        source = head + COMMAND.format(name=name, extra=extra, body=body)
        (tmp_path / f"{module}.py").write_text(source, encoding="utf-8")
        entry_points.append(metadata.EntryPoint(name, module, "qwen3_triton.commands"))

    return declare_one


def test_a_command_gets_its_arguments_and_gives_its_status(
    declare: Declare, capsys: pytest.CaptureFixture[str]
) -> None:
    declare("one", body="print('word', args.word)")
    declare("two")
    assert main(["one", "hello", "--status", "7"]) == 7
    assert capsys.readouterr().out == "word hello\n"
    assert main(["two"]) == 0


def test_help_lists_the_commands(declare: Declare, capsys: pytest.CaptureFixture[str]) -> None:
    declare("two")
    declare("one")
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines.index(["one", "does", "one"]) < lines.index(["two", "does", "two"])


def test_no_command_shows_the_help(declare: Declare, capsys: pytest.CaptureFixture[str]) -> None:
    declare("one")
    assert main([]) == 2
    assert "does one" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"qwen3-triton {qwen3_client.__version__}\n"


MISSING = "qwen3-triton export needs the export extra: pip install 'qwen3-triton[export]'"


def test_a_missing_extra_says_what_to_install(declare: Declare, capsys: pytest.CaptureFixture[str]) -> None:
    declare("export", body="import no_such_module", extra="export")
    assert main(["export"]) == 1
    assert capsys.readouterr().err == f"{MISSING} (No module named 'no_such_module')\n"


@pytest.mark.parametrize("arguments", [[], ["tiny", "--force"], ["--help"]])
def test_a_command_that_cannot_be_imported_says_so_too_and_harms_no_other(
    declare: Declare, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    declare("export", head="import no_such_module\n", extra="export")
    declare("other")
    assert main(["export", *arguments]) == 1
    assert MISSING in capsys.readouterr().err
    assert main(["other"]) == 0


@pytest.mark.parametrize(("module", "extra"), [("no_such_module", None), ("qwen3_export.no_such_module", "export")])
def test_a_fault_of_our_own_is_not_blamed_on_an_extra(declare: Declare, module: str, extra: str | None) -> None:
    body = f"raise ModuleNotFoundError(name={module!r})"
    declare("export", body=body, extra=extra)
    with pytest.raises(ModuleNotFoundError):
        main(["export"])


def test_ctrl_c_is_130(declare: Declare, capsys: pytest.CaptureFixture[str]) -> None:
    declare("one", body="raise KeyboardInterrupt")
    assert main(["one"]) == 130
    assert capsys.readouterr().err == "qwen3-triton one: interrupted\n"


def test_only_the_command_that_was_asked_for_is_loaded(declare: Declare, capsys: pytest.CaptureFixture[str]) -> None:
    declare("one", body="print('one')")
    declare("two", head="raise RuntimeError('loaded')\n")
    assert main(["one"]) == 0
    assert capsys.readouterr().out == "one\n"
    with pytest.raises(RuntimeError, match="loaded"):
        main(["--help"])


def test_wrong_usage_is_one_line(declare: Declare, capsys: pytest.CaptureFixture[str]) -> None:
    declare("one")
    for arguments, said in (
        (
            ["one", "--status", "x"],
            "qwen3-triton one: argument --status: invalid int value: 'x'; see qwen3-triton one --help",
        ),
        (["two"], "qwen3-triton: argument COMMAND: invalid choice: 'two' (choose from "),
    ):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
        err = capsys.readouterr().err
        assert err.startswith(said)
        assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("pass token=, headers= or tls=", "pass --token-file, --header-file or --ca"),
        ("name another with model= or reranker=, or", "name another with --model, or"),
        ("pass reranker_tokenizer=<folder>", "pass --tokenizer <folder>"),
        ("raise timeout_s=, or", "raise --timeout, or"),
        ("cannot read ca='/x': no", "cannot read --ca '/x': no"),
        ("a_model=1 stays", "a_model=1 stays"),
    ],
)
def test_messages_name_options(message: str, said: str) -> None:
    assert in_options(message) == said


def test_the_real_commands_are_as_main_expects() -> None:
    from qwen3_client.cli import embed, rerank

    assert (embed.HELP, embed.EXTRA) == ("embed texts with a running server", "bulk")
    assert rerank.HELP.startswith("rank documents")
    assert rerank.EXTRA is None
    for command in (embed, rerank):
        command.add_arguments(argparse.ArgumentParser())
