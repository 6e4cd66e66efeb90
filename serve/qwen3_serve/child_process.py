"""Child processes that end with this one."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import threading
from typing import Any


def end_with_parent() -> Any:  # noqa: ANN401
    """Return a `preexec_fn` with which Linux ends the child when this process is killed; None outside the main thread.

    Linux ties the child to the thread that started it and not to the process, so only the main thread may ask for it.
    """
    if threading.current_thread() is not threading.main_thread():
        return None
    prctl = ctypes.CDLL(None).prctl
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG, prctl(2)
    return lambda: prctl(set_parent_death_signal, signal.SIGTERM)


def kill_group(process: subprocess.Popen[str]) -> None:
    """Kill all processes of a child's process group that still run."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
