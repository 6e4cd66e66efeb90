"""Child processes that end with this one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path


def ending_with_parent(command: Sequence[str]) -> list[str]:
    """Return the command line that runs `command` so that Linux ends it when this process is killed.

    Linux ties a child to the thread that started it and not to the process, so that outside the main thread it is
    `command` itself. `Popen(preexec_fn=...)` would do without a program in between, but it forks, and a child that is
    forked while another thread uses gRPC may crash before it runs anything.
    """
    if threading.current_thread() is not threading.main_thread():
        return list(command)
    program = Path(__file__).with_name("end_with_parent.py")
    return [sys.executable, "-I", "-S", str(program), str(os.getpid()), *command]


def kill_group(process: subprocess.Popen[str]) -> None:
    """Kill all processes of a child's process group that still run."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
