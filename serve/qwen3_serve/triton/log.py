"""What Triton and its hosts write: the last lines, what they say was loaded, and why a start failed."""

from __future__ import annotations

import collections
import re

_LINES = 500
_NO_GPU = "failed to allocate pinned system memory"  # on every start without a GPU; it goes on without
# "E1121 20:15:02.123456 1234 model_lifecycle.cc:654] " before the message
_PREFIX = re.compile(r"^[EWI]\d{4} [\d:.]+ +\d+ [\w.]+:\d+\] ")
_LOADED = re.compile(r"successfully loaded '(.+)'")


class Log:
    """The log of one Triton, written by the thread that reads it and read by any."""

    def __init__(self) -> None:
        self._lines: collections.deque[str] = collections.deque(maxlen=_LINES)
        self._loaded: set[str] = set()

    def add(self, line: str) -> None:
        """Take a line."""
        self._lines.append(line)
        if found := _LOADED.search(line):
            self._loaded.add(found[1])

    @property
    def lines(self) -> list[str]:
        """The last lines."""
        return list(self._lines)

    @property
    def last(self) -> str:
        """The last line."""
        lines = self.lines
        return lines[-1] if lines else "none"

    def has_loaded(self, model: str) -> bool:
        """Whether Triton said that it loaded a model."""
        return model in self._loaded

    def says(self, text: str) -> bool:
        """Whether a line holds a text."""
        return any(text in line for line in self.lines)

    def failure(self) -> str | None:
        """Triton's own reason for a failed start, without the complaints about missing GPUs; None if it gave none."""
        lines = self.lines
        reasons = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        if not reasons:
            reasons = [
                _PREFIX.sub("", line).strip('" ') for line in lines if "failed to " in line and _NO_GPU not in line
            ]
        return "\n  ".join(reasons) or None

    def hosts_words(self) -> str | None:
        """What the hosts wrote while they were loading: the lines that are not Triton's; None if nothing."""
        lines = self.lines
        first = next((i for i, line in enumerate(lines) if '] "loading: ' in line), len(lines))
        return "\n  ".join(line.strip() for line in lines[first:] if line.strip() and not _PREFIX.match(line)) or None


def is_alarm(line: str) -> bool:
    """Whether a line is a warning or an error of Triton's."""
    return line[:1] in ("E", "W") and _PREFIX.match(line) is not None
