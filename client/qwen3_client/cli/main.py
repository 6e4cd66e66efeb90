"""The entry point of the command `qwen3-triton`.

It handles Ctrl-C before anything else is imported: until the subcommand starts, Ctrl-C ends the process at once and
without output. `subcommands` does the rest. This module knows nothing about arguments.
"""

import signal
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run `qwen3-triton`.

    Args:
        argv: the arguments; None for those of the process.

    Returns:
        The exit status: that of the subcommand, 1 if its extra is missing, 2 if the arguments are not valid, 130 after
        Ctrl-C.
    """
    # Nothing has started yet that would need cleaning up. If the signal is ignored, as under nohup, it stays ignored.
    is_ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        from .subcommands import parse, run

        name, command, args = parse(sys.argv[1:] if argv is None else argv)
        return 2 if command is None else run(name, command, args, takes_ctrl_c=is_ours)
    finally:
        if is_ours and argv is not None:  # otherwise the process ends now, and Ctrl-C may still end it at once
            signal.signal(signal.SIGINT, signal.default_int_handler)
