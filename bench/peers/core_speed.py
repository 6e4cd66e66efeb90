"""How fast the cores are at a moment, which on a virtual machine the load of others on the same host changes.

Two virtual cores may be the threads of one physical core, or each may share its core with another machine. Then they
take half as long again or twice as long for the same work, and no figure in /proc shows it.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

_MOST_CORES = 8  # more threads of one Python process would wait for each other
_NUMBERS = 32_768  # 256 KB, which stay in a core's own cache
_REPEATS = 600  # tens of milliseconds
_STILL_S = 0.3  # threads of an engine that has just finished may spin for so long
_POLL_S = 0.2


class CoreSpeed:
    """Measures it, by square roots of numbers in the cache, on all cores at once.

    Args:
        cores: Number of the cores.
    """

    def __init__(self, cores: int) -> None:
        self._numbers = [np.full(_NUMBERS, 2.0) for _ in range(min(cores, _MOST_CORES))]
        self._pool = ThreadPoolExecutor(len(self._numbers))
        self.full = 0.0
        self.measure()

    def measure(self) -> float:
        """Return the square roots per second now; `full` is the most so far."""
        began = time.perf_counter()
        list(self._pool.map(_work, self._numbers))
        rate = _REPEATS * _NUMBERS * len(self._numbers) / (time.perf_counter() - began)
        self.full = max(self.full, rate)
        return rate

    def measure_after_work(self) -> float:
        """Return what `measure` does once threads of others that have just finished are still."""
        time.sleep(_STILL_S)
        return self.measure()

    def wait(self, share: float, *, at_most_s: float) -> float:
        """Wait until the cores have at least a share of their full speed, and return the speed at the end."""
        ends = time.monotonic() + at_most_s
        while (rate := self.measure()) < share * self.full and time.monotonic() < ends:
            time.sleep(_POLL_S)
        return rate


def _work(numbers: np.ndarray) -> None:  # type: ignore[type-arg]
    for _ in range(_REPEATS):
        np.sqrt(numbers, out=numbers)
