"""The subcommands of `qwen3-triton`, which the packages declare: found, their arguments read, one of them run.

Each package of the distribution names its command modules in the entry-point group `qwen3_triton.commands`
(pyproject.toml); this module knows none of them by name. Only the one that was asked for is loaded.
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
_IMPORTING = "<frozen importlib._bootstrap>"  # where the frames of the import system say that they are


class Command(Protocol):
    """What a command module holds.

    Attributes:
        HELP: one line for `--help`.
        EXTRA: the distribution's extra that the command needs; None when the base install is enough.
    """

    HELP: str
    EXTRA: str | None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Run the command and returns its exit status."""


Found: TypeAlias = "Command | ModuleNotFoundError"


class _Parser(argparse.ArgumentParser):
    """A parser that complains in one line, as the commands do."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {' '.join(message.split())}; see {self.prog} --help\n")


def parse(argv: Sequence[str]) -> "tuple[str, Found | None, argparse.Namespace]":
    """Find the command that the arguments name, and reads its arguments.

    Args:
        argv: the arguments of `qwen3-triton`.

    Returns:
        The command's name, its module or why that cannot be loaded, and its arguments. Without a command, None for the
        module; the help was printed then.
    """
    # No option of `qwen3-triton` itself takes a value.
    asked = next((argument for argument in argv if not argument.startswith("-")), None)
    parser, commands = _parser(asked)
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help(sys.stderr)
        return "", None, args
    return args.command, commands[args.command], args


def full_parser() -> argparse.ArgumentParser:
    """Return the parser of `qwen3-triton` with every command that can be loaded."""
    return _parser(None, only_loaded=True)[0]


def run(name: str, command: Found, args: argparse.Namespace, *, takes_ctrl_c: bool) -> int:
    """Run a command.

    Args:
        name: the command's.
        command: its module, or why that cannot be loaded.
        args: its arguments.
        takes_ctrl_c: whether Ctrl-C is to interrupt the command.

    Returns:
        The exit status: the command's, 1 when its extra is missing, 130 after Ctrl-C.
    """
    # A command module that cannot even be imported cannot name its extra; it is called like the command.
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
        # Without an extra to install, or for a module of our own, it is a fault of ours: show where.
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
    """Make the parser with the arguments of one command; of all where there is no such command, as for `--help`."""
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
            # Takes any arguments: they only lead to the message.
            subparsers.add_parser(name, help=f"needs the {name} extra", prefix_chars="\0", add_help=False).add_argument(
                "ignored", nargs="*"
            )
            continue
        commands[name] = command
        command.add_arguments(subparsers.add_parser(name, help=command.HELP, description=command.HELP))
    return parser, commands


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Interrupt a command; one that is still loading modules ends at once, because libraries take it badly.

    They print what they make of it, call themselves broken, or swallow it.
    """
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTING:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        frame = frame.f_back
    raise KeyboardInterrupt
