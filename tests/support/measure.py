"""Watching what a command costs: time and peak anonymous memory."""

import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


def anonymous_bytes(pid: int) -> int:
    """Anonymous memory of a process now; mapped files do not count. 0 once it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    for line in status.splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command took."""

    seconds: float
    peak_bytes: int
    output: str


def run_measured(command: Sequence[str]) -> Cost:
    """Run a command to its end, sampling its anonymous memory every 5 ms."""
    started = time.monotonic()
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        ended = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not ended.wait(0.005):
                peak = max(peak, anonymous_bytes(process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        output, _ = process.communicate()
        ended.set()
        watcher.join()
    assert process.returncode == 0, output
    return Cost(time.monotonic() - started, peak, output)
