"""The command `qwen3-triton`, from its first moment on.

This module holds what must work before anything else is loaded: until the command itself begins, Ctrl-C ends the
process at once and without a word. `_subcommands` does the rest.
"""

import signal
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run `qwen3-triton`.

    Args:
        argv: the arguments; None for the process's own.

    Returns:
        The exit status: the command's, 1 when its extra is missing, 2 for wrong usage, 130 after Ctrl-C.
    """
    # Nothing has begun that would have to be ended in order. An ignored signal, as under nohup, stays ignored.
    is_ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        from .subcommands import parse, run

        name, command, args = parse(sys.argv[1:] if argv is None else argv)
        return 2 if command is None else run(name, command, args, takes_ctrl_c=is_ours)
    finally:
        if is_ours and argv is not None:  # else the process ends, and Ctrl-C may end it sooner
            signal.signal(signal.SIGINT, signal.default_int_handler)
