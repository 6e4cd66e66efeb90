"""docs/operate.md: the commands take the arguments that it gives them."""

import argparse
import re
import shlex
from pathlib import Path

import pytest
from qwen3_client.cli import reload, status
from qwen3_export import cli as export_cli
from qwen3_export.verify import cli as verify_cli
from qwen3_serve import cli as serve_cli

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operate.md").read_text("utf-8")
COMMANDS = {
    "export": export_cli,
    "reload": reload,
    "serve": serve_cli,
    "status": status,
    "verify": verify_cli,
}


def commands() -> list[str]:
    """Every `qwen3-triton` command of the page, lines that go on joined."""
    blocks = "".join(re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)).replace("\\\n", " ")
    in_text = re.findall(r"`(qwen3-triton (?:[a-z]+ -|status )[^`]*)`", PAGE)
    return [line.partition("  #")[0].strip() for line in blocks.splitlines() if line.startswith("qwen3")] + in_text


def test_there_are_commands() -> None:
    assert commands()


@pytest.mark.parametrize("command", commands())
def test_a_command_takes_its_arguments(command: str) -> None:
    _, name, *arguments = shlex.split(command)
    parser = argparse.ArgumentParser()
    COMMANDS[name].add_arguments(parser)
    parser.parse_args(arguments)
