"""Processor time and memory of this process and its descendants, and what others take, from Linux's /proc."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Watch:
    """Tells how much of the cores' time others take from now on.

    Others are all processes outside this process's tree, the kernel's interrupts, and on a virtual machine its host,
    whose other guests show as stolen time. Only the cores that this process may use are looked at.
    """

    def __init__(self) -> None:
        self._cores = os.sched_getaffinity(0)
        self._since_s = time.perf_counter()
        self._busy_s, self._own_s = _busy_s(self._cores), processor_s()

    def own_s(self) -> float:
        """Return the seconds of processor time that this process's tree has used since."""
        return processor_s() - self._own_s

    def foreign(self) -> float:
        """Return the time that others have taken since, as a share of all the time of the cores, from 0 to 1."""
        all_s = (time.perf_counter() - self._since_s) * len(self._cores)
        others_s = _busy_s(self._cores) - self._busy_s - self.own_s()
        return min(1.0, max(0.0, others_s / all_s))


def processor_s() -> float:
    """Return the seconds of processor time that the tree has used, with those of its processes that have ended."""
    ticks = 0
    for process in _tree(os.getpid()):
        ticks += sum(int(field) for field in _stat(process)[11:15])  # its own, user and system; its ended children's
    return ticks / _TICKS_PER_S


def peak_memory() -> int:
    """Return the sum of each process's largest resident memory in bytes, including mapped files."""
    total = 0
    for process in _tree(os.getpid()):
        for line in (process / "status").read_text().splitlines():
            if line.startswith("VmHWM"):
                total += 1024 * int(line.split()[1])
    return total


def _busy_s(cores: set[int]) -> float:
    """Return the seconds that some cores were busy or stolen since the machine started.

    Source of the fields: proc_stat(5). Time of guests is contained in that of users.
    """
    ticks = 0
    names = {f"cpu{core}" for core in cores}
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name in names:
            user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in fields[:8])
            ticks += user + nice + system + irq + softirq + steal
    return ticks / _TICKS_PER_S


def _tree(pid: int) -> Iterator[Path]:
    process = Path("/proc") / str(pid)
    yield process
    for children in process.glob("task/*/children"):
        for child in children.read_text().split():
            yield from _tree(int(child))


def _stat(process: Path) -> list[str]:
    """Return the fields from the state on; the name before it may contain spaces."""
    return (process / "stat").read_text().rpartition(")")[2].split()
