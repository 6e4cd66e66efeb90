"""docs/operate.md: what it tells operators to type and to look at exists."""

import argparse
import re
import shlex
from pathlib import Path

import pytest
from qwen3_client import _reload_command, _status_command
from qwen3_export import cli as export_cli
from qwen3_export.verify import cli as verify_cli
from qwen3_serve import cli as serve_cli

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operate.md").read_text("utf-8")
COMMANDS = {
    "export": export_cli,
    "reload": _reload_command,
    "serve": serve_cli,
    "status": _status_command,
    "verify": verify_cli,
}


def commands() -> list[str]:
    """Every `qwen3-triton` command of the page, lines that go on joined."""
    blocks = "".join(re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)).replace("\\\n", " ")
    in_text = re.findall(r"`(qwen3-triton (?:[a-z]+ -|status )[^`]*)`", PAGE)
    return [line.partition("  #")[0].strip() for line in blocks.splitlines() if line.startswith("qwen3")] + in_text


def test_there_are_commands() -> None:
    assert len(commands()) >= 8
    assert {command.split()[1] for command in commands()} == set(COMMANDS)


@pytest.mark.parametrize("command", commands())
def test_a_command_takes_its_arguments(command: str) -> None:
    _, name, *arguments = shlex.split(command)
    parser = argparse.ArgumentParser()
    COMMANDS[name].add_arguments(parser)
    parser.parse_args(arguments)


def test_links_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", PAGE) if not link.startswith("https://")]
    assert links
    headings = {re.sub(r"[^a-z -]", "", line.lstrip("# ").lower()).replace(" ", "-") for line in PAGE.splitlines()}
    for link in links:
        file, _, anchor = link.partition("#")
        assert (ROOT / "docs" / file).exists() if file else anchor in headings, link


@pytest.mark.parametrize("setting", ["model_warmup", "response_cache", "max_queue_size", "priority_levels"])
def test_settings_are_explained_in_every_configuration(setting: str) -> None:
    configs = [
        *ROOT.glob("export/qwen3_export/templates/*/config.pbtxt"),
        *ROOT.glob("export/qwen3_export/templates/*/configs/embedded.pbtxt"),
    ]
    ours = [config for config in configs if config.parent.name in ("qwen3_embedding", "qwen3_reranker", "configs")]
    assert len(ours) >= 4
    assert setting in PAGE
    for config in ours:
        assert setting in config.read_text("utf-8"), config
