"""How fast the cores are at a moment, which on a virtual machine can change while nothing in /proc shows it.

On some virtual machines, int8 products take 1.2 to 1.5 times as long for seconds or half a minute, and float32 ones do
not. Other machines on the same host are a likely reason.
"""

from __future__ import annotations

import time

from bench.peers.products import onnxruntime_int8

_SHAPE, _ROWS = (1024, 6144), 352  # as of the 0.6B model
_REPEATS = 12  # some 70 ms on two cores
_STILL_S = 0.3  # threads of an engine that has just finished may spin for so long
_POLL_S = 0.2


class CoreSpeed:
    """Measures it, by int8 products on all cores.

    Args:
        threads: Threads of a product.
    """

    def __init__(self, threads: int) -> None:
        self._product = onnxruntime_int8(_SHAPE, _ROWS, threads)
        self._product()

    def measure(self) -> float:
        """Return the products per second now, by the fastest of a few."""
        shortest_s = float("inf")
        for _ in range(_REPEATS):
            began = time.perf_counter()
            self._product()
            shortest_s = min(shortest_s, time.perf_counter() - began)
        return 1 / shortest_s

    def measure_after_work(self) -> float:
        """Return what `measure` does once threads of others that have just finished are still."""
        time.sleep(_STILL_S)
        return self.measure()

    def wait(self, least: float, *, at_most_s: float) -> float:
        """Wait until the cores have at least a speed, and return the speed at the end."""
        ends = time.monotonic() + at_most_s
        while (rate := self.measure()) < least and time.monotonic() < ends:
            time.sleep(_POLL_S)
        return rate
