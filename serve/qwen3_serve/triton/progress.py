"""Progress messages while something takes long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

INTERVAL_S = 10.0


class ProgressMessages:
    """Reports every ten seconds what is still being done, for as long as its block lasts.

    Args:
        report: Called with each message, from a thread of its own; None for no messages.
        step: Returns what is being done: `loading qwen3_embedding`.
        interval_s: Seconds between two messages; None for ten.
    """

    def __init__(
        self, report: Callable[[str], None] | None, step: Callable[[], str], *, interval_s: float | None = None
    ) -> None:
        self._report = report
        self._step = step
        self._interval_s = INTERVAL_S if interval_s is None else interval_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="qwen3-progress", daemon=True)

    def __enter__(self) -> ProgressMessages:
        """Start the clock."""
        if self._report is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop reporting."""
        self._done.set()
        if self._report is not None:
            self._thread.join()

    def _run(self) -> None:
        assert self._report is not None  # noqa: S101 - the thread runs only with a report
        started = time.monotonic()
        while not self._done.wait(self._interval_s):
            self._report(f"still {self._step()}, {time.monotonic() - started:.0f} s")
