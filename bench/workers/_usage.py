"""Processor time and memory of this process and its descendants, from Linux's /proc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def processor_s() -> float:
    """Return the seconds of processor time that all threads of all running processes of the tree have used."""
    ticks = 0
    for process in _tree(os.getpid()):
        fields = _stat(process)
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def peak_memory() -> int:
    """Return the sum of each process's largest resident memory in bytes, including mapped files."""
    total = 0
    for process in _tree(os.getpid()):
        for line in (process / "status").read_text().splitlines():
            if line.startswith("VmHWM"):
                total += 1024 * int(line.split()[1])
    return total


def _tree(pid: int) -> Iterator[Path]:
    process = Path("/proc") / str(pid)
    yield process
    for children in process.glob("task/*/children"):
        for child in children.read_text().split():
            yield from _tree(int(child))


def _stat(process: Path) -> list[str]:
    """Return the fields from the state on; the name before it may contain spaces."""
    return (process / "stat").read_text().rpartition(")")[2].split()
