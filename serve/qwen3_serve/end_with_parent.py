"""Become another program that Linux ends when the parent of this process ends.

A program of its own, which imports nothing of this project: `python end_with_parent.py PARENT PROGRAM [ARGUMENT ...]`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2)


def main(parent: int, command: list[str]) -> None:
    """Run `command` in place of this process, unless the process `parent` has ended already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores them, and the program would go on doing so
    if os.getppid() == parent:  # otherwise nothing would end it any more
        os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
