"""The subcommands of `qwen3-triton`: finding them, reading their arguments, and running one of them.

Each package of the distribution declares its command modules in the entry-point group `qwen3_triton.commands`
(pyproject.toml), and only the module of the requested command is imported. This module knows no command by name.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from importlib import metadata
from types import FrameType
from typing import NoReturn, Protocol, TypeAlias, cast

from .. import __version__
from .errors import complain, exit_status

_DISTRIBUTION = "qwen3-triton"
_GROUP = "qwen3_triton.commands"
_INTERRUPTED = 130
_IMPORTING = "<frozen importlib._bootstrap>"  # the file name in the stack frames of the import system


class Command(Protocol):
    """The interface of a command module.

    Attributes:
        HELP: the line about the command in `--help`.
        EXTRA: the extra of the distribution that the command needs; None if it needs none.
    """

    HELP: str
    EXTRA: str | None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Run the command, and return its exit status."""


Found: TypeAlias = "Command | ModuleNotFoundError"


class _Parser(argparse.ArgumentParser):
    """An argument parser that prints errors in one line, like those of the commands."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {' '.join(message.split())}; see {self.prog} --help\n")


def parse(argv: Sequence[str]) -> "tuple[str, Found | None, argparse.Namespace]":
    """Find the command that the arguments name, and read its arguments.

    Args:
        argv: the arguments of `qwen3-triton`.

    Returns:
        The name of the command; its module, or the error if that cannot be imported; and its arguments. If the
        arguments name no command, the help is printed, and the module is None.
    """
    # The options of `qwen3-triton` itself take no values, so the first argument that is not an option is the command.
    asked = next((argument for argument in argv if not argument.startswith("-")), None)
    parser, commands = _parser(asked)
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help(sys.stderr)
        return "", None, args
    return args.command, commands[args.command], args


def full_parser() -> argparse.ArgumentParser:
    """Return the parser of `qwen3-triton` with every command that can be imported."""
    return _parser(None, only_loaded=True)[0]


def run(name: str, command: Found, args: argparse.Namespace, *, takes_ctrl_c: bool) -> int:
    """Run a command.

    Args:
        name: name of the command.
        command: its module, or the error if that cannot be imported.
        args: its arguments.
        takes_ctrl_c: whether Ctrl-C interrupts the command.

    Returns:
        The exit status: that of the command, 1 if its extra is missing, 130 after Ctrl-C.
    """
    # A command module that cannot be imported cannot name its extra, which then has the name of the command.
    extra = name if isinstance(command, ModuleNotFoundError) else command.EXTRA
    try:
        if takes_ctrl_c:
            signal.signal(signal.SIGINT, _interrupt)
        if isinstance(command, ModuleNotFoundError):
            raise command
        return exit_status(name, lambda: command.run(args))
    except KeyboardInterrupt as interrupt:
        return complain(name, "; ".join(["interrupted", *map(str, interrupt.args)]), status=_INTERRUPTED)
    except ModuleNotFoundError as error:
        # If there is no extra to install, or a module of this project is missing, it is a bug: show the traceback.
        if extra is None or (error.name or "").startswith("qwen3_"):
            raise
        print(
            f"{_DISTRIBUTION} {name} needs the {extra} extra: pip install '{_DISTRIBUTION}[{extra}]' ({error})",
            file=sys.stderr,
        )
        return 1
    finally:
        if takes_ctrl_c:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


def _parser(asked: str | None, *, only_loaded: bool = False) -> tuple[argparse.ArgumentParser, dict[str, Found]]:
    """Make the parser with the arguments of the command `asked`, or of all commands if there is no such command.

    Args:
        asked: name of a command; None for all commands.
        only_loaded: whether to leave out commands that cannot be imported.

    Returns:
        The parser, and the commands by name.
    """
    parser = _Parser(
        prog=_DISTRIBUTION,
        description="Qwen3-Embedding and Qwen3-Reranker on NVIDIA Triton: export, serve, embed, rerank.",
    )
    parser.add_argument("--version", action="version", version=f"{_DISTRIBUTION} {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    entry_points = {found.name: found for found in metadata.entry_points(group=_GROUP)}
    commands: dict[str, Found] = {}
    for name in [asked] if asked in entry_points else sorted(entry_points):
        try:
            command = cast(Command, entry_points[name].load())
        except ModuleNotFoundError as error:
            if only_loaded:
                continue
            commands[name] = error
            # It accepts any arguments, because the command only prints that its extra is missing.
            subparsers.add_parser(name, help=f"needs the {name} extra", prefix_chars="\0", add_help=False).add_argument(
                "ignored", nargs="*"
            )
            continue
        commands[name] = command
        command.add_arguments(subparsers.add_parser(name, help=command.HELP, description=command.HELP))
    return parser, commands


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt in the command, or end the process at once if a module is being imported.

    While they are imported, many libraries handle KeyboardInterrupt wrongly: they print it, report that they are
    broken, or ignore it.
    """
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTING:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        frame = frame.f_back
    raise KeyboardInterrupt
