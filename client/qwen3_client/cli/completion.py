"""`qwen3-triton completion`: print a script with which a shell completes the commands and their options.

shtab makes the script from the parsers of all installed commands. The script does not start Python when it is used.
This module knows nothing about the single commands.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

HELP = "print a script with which a shell completes commands and options"
EXTRA: str | None = None

_SHELLS = ("bash", "zsh", "fish")
_OF_FILES = {"FILE", "PATH", "PEM"}  # the metavars of options that take a file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        'bash, in ~/.bashrc:                   eval "$(qwen3-triton completion bash)"\n'
        'zsh, in ~/.zshrc after compinit:      eval "$(qwen3-triton completion zsh)"\n'
        "fish, in ~/.config/fish/config.fish:  qwen3-triton completion fish | source"
    )
    parser.add_argument("shell", choices=_SHELLS, help="the shell that is to run the script")


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    import shtab

    from .subcommands import full_parser

    parser = full_parser()
    for action in _actions(parser):
        if action.type is Path or action.metavar in _OF_FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(parser, shell=args.shell))
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments of a parser and of its subcommands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for subcommand in action.choices.values():
                yield from _actions(subcommand)
