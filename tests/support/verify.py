"""``qwen3-triton verify`` as a user types it, and what it said."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import pytest
from qwen3_export.verify import cli


@dataclass(frozen=True, slots=True)
class Done:
    """What a run of the command left."""

    code: int
    out: str
    err: str


def run_verify(capsys: pytest.CaptureFixture[str], repository: Path, *arguments: str) -> Done:
    """Run ``verify`` with a repository and arguments, in this process."""
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    capsys.readouterr()  # what was written before, such as the bars of a library
    code = cli.run(parser.parse_args(["--repository", str(repository), *arguments]))
    printed = capsys.readouterr()
    return Done(code, printed.out, printed.err)
