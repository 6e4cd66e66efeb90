"""The command `qwen3-triton`: finds the subcommands that the packages declare, and runs one.

Each package of the distribution names its command modules in the entry-point group `qwen3_triton.commands`
(pyproject.toml); this module knows none of them by name.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Protocol, cast

__all__ = ["main"]

_DISTRIBUTION = "qwen3-triton"
_GROUP = "qwen3_triton.commands"


class Command(Protocol):
    """What a command module holds.

    Attributes:
        HELP: one line for `--help`.
        EXTRA: the distribution's extra that the command needs; None when the base install is enough.
    """

    HELP: str
    EXTRA: str | None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the command's arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Runs the command and returns its exit status."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `qwen3-triton`.

    Args:
        argv: the arguments; None for the process's own.

    Returns:
        The exit status: the command's, 1 when its extra is missing, 2 for wrong usage, 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(
        prog=_DISTRIBUTION,
        description="Qwen3-Embedding and Qwen3-Reranker on NVIDIA Triton: export, serve, embed, rerank.",
    )
    parser.add_argument("--version", action="version", version=f"{_DISTRIBUTION} {_version()}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    commands: dict[str, Command | ModuleNotFoundError] = {}
    for entry_point in sorted(metadata.entry_points(group=_GROUP), key=lambda found: found.name):
        name = entry_point.name
        try:
            command = cast(Command, entry_point.load())
        except ModuleNotFoundError as error:
            commands[name] = error
            # Takes any arguments: they only lead to the message.
            subparsers.add_parser(name, help=f"needs the {name} extra", prefix_chars="\0", add_help=False).add_argument(
                "ignored", nargs="*"
            )
            continue
        commands[name] = command
        command.add_arguments(subparsers.add_parser(name, help=command.HELP, description=command.HELP))
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help(sys.stderr)
        return 2
    return _run(args.command, commands[args.command], args)


def _run(name: str, command: Command | ModuleNotFoundError, args: argparse.Namespace) -> int:
    # A command module that cannot even be imported cannot name its extra; it is called like the command.
    extra = name if isinstance(command, ModuleNotFoundError) else command.EXTRA
    try:
        if isinstance(command, ModuleNotFoundError):
            raise command
        return command.run(args)
    except ModuleNotFoundError as error:
        # Without an extra to install, or for a module of our own, it is a fault of ours: show where.
        if extra is None or (error.name or "").startswith("qwen3_"):
            raise
        print(
            f"{_DISTRIBUTION} {name} needs the {extra} extra: pip install '{_DISTRIBUTION}[{extra}]' ({error})",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print(f"{_DISTRIBUTION} {name}: interrupted", file=sys.stderr)
        return 130


def _version() -> str:
    try:
        return metadata.version(_DISTRIBUTION)
    except metadata.PackageNotFoundError:  # run from a checkout that was not installed
        return "(not installed)"
