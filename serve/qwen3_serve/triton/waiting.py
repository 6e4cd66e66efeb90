"""A word now and then while something takes long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

EVERY_S = 10.0


class Waiting:
    """Says every ten seconds, for as long as its block lasts, what is still being done.

    Args:
        report: Called with each line, from a thread of its own; nobody is told if None.
        what: Returns what is being done: `loading qwen3_embedding`.
        every_s: Seconds from one line to the next; ten if None.
    """

    def __init__(
        self, report: Callable[[str], None] | None, what: Callable[[], str], *, every_s: float | None = None
    ) -> None:
        self._report = report
        self._what = what
        self._every_s = EVERY_S if every_s is None else every_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="qwen3-waiting", daemon=True)

    def __enter__(self) -> Waiting:
        """Start to count."""
        if self._report is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Say nothing more."""
        self._done.set()
        if self._report is not None:
            self._thread.join()

    def _run(self) -> None:
        assert self._report is not None  # noqa: S101 - else there is no thread
        started = time.monotonic()
        while not self._done.wait(self._every_s):
            self._report(f"still {self._what()}, {time.monotonic() - started:.0f} s")
