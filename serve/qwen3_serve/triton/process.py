"""The Triton program: one process, what it writes, and its end.

Knows nothing about models, ports or requests.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..child_process import ending_with_parent, kill_group
from .http_probe import TIMEOUT_S
from .log import Log, is_alarm


class TritonProcess:
    """One Triton process, started by the constructor.

    Args:
        command: Its command line.
        environment: Its environment.
        server_id: Its unique name, with which the names of its shared memory begin.
        log: Receives the lines that it writes.
        echo_log: Whether to copy its warnings and errors to stderr once it is ready.

    Attributes:
        popen: The process.
    """

    def __init__(
        self, command: Sequence[str], *, environment: Mapping[str, str], server_id: str, log: Log, echo_log: bool
    ) -> None:
        self._server_id = server_id
        self._log = log
        self._echo_log = echo_log
        self._is_ready = False
        self.popen: subprocess.Popen[str] = subprocess.Popen(
            ending_with_parent(command),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # A Ctrl-C in the terminal then reaches this process only, which stops Triton in order.
            start_new_session=True,
        )
        self._log_reader = threading.Thread(target=self._read_log, daemon=True)
        self._log_reader.start()

    def set_ready(self) -> None:
        """State that it accepts requests from now on, which it finishes when it is drained."""
        self._is_ready = True

    def drain(self, timeout_s: float) -> None:
        """Let it finish accepted requests and end, if it is ready."""
        is_ready, self._is_ready = self._is_ready, False
        if is_ready and self.popen.poll() is None:
            self.popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(timeout_s)

    def kill(self) -> None:
        """End it and its hosts, if they have not ended, and remove its shared memory."""
        kill_group(self.popen)  # the hosts are part of the group
        self.popen.wait()
        self.join_log()
        for region in Path("/dev/shm").glob(f"{self._server_id}*"):  # noqa: S108
            region.unlink(missing_ok=True)

    def join_log(self) -> None:
        """Wait until the log of a process that has ended is complete."""
        self._log_reader.join(TIMEOUT_S)

    def _read_log(self) -> None:
        assert self.popen.stdout is not None  # noqa: S101 - Popen was given a pipe
        with self.popen.stdout as lines:
            for line in lines:
                self._log.add(line.rstrip("\n"))
                if self._is_ready and self._echo_log and is_alarm(line):
                    print(f"triton: {line}", end="", file=sys.stderr, flush=True)  # noqa: T201
