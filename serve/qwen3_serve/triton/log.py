"""The log of Triton and its hosts: the last lines, the models that were loaded, and the reason of a failed start."""

from __future__ import annotations

import collections
import re

_LINES = 500
_UNHEALTHY = " is not healthy"  # "Stub process 'm_0_0' is not healthy.": of a host that ended, Triton knows no more
_NO_GPU = "failed to allocate pinned system memory"  # at every start without a GPU, and harmless
# "E1121 20:15:02.123456 1234 model_lifecycle.cc:654] " before the message
_PREFIX = re.compile(r"^[EWI]\d{4} [\d:.]+ +\d+ [\w.]+:\d+\] ")
_NO_REASON = re.compile(r"failed to load '[^']*'\"?$")  # follows on the line with the reason
_ATTENTION = re.compile(r"attention of (\S+): (.*)\"")  # from the embedded host
_LOADED = re.compile(r"successfully loaded '(.+)'")


class Log:
    """The log of one Triton. One thread adds lines; any thread may read them."""

    def __init__(self) -> None:
        self._lines: collections.deque[str] = collections.deque(maxlen=_LINES)
        self._loaded: set[str] = set()
        self._attention: dict[str, str] = {}

    def add(self, line: str) -> None:
        """Add a line."""
        self._lines.append(line)
        if found := _LOADED.search(line):
            self._loaded.add(found[1])
        elif found := _ATTENTION.search(line):
            self._attention[found[1]] = found[2]

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
        """Return whether Triton logged that it loaded a model."""
        return model in self._loaded

    def attention_of(self, model: str) -> str | None:
        """Return which attention a model's embedded host logged that it runs, in words; None if it logged none."""
        return self._attention.get(model)

    def says(self, text: str) -> bool:
        """Return whether a line contains a text."""
        return any(text in line for line in self.lines)

    @property
    def misses_a_host(self) -> bool:
        """Whether Triton noticed that a host ended."""
        return self.says(_UNHEALTHY)

    def failure(self) -> str | None:
        """Return Triton's own reason for a failed start; None if it has none.

        Without messages about missing GPUs, and about hosts that ended, of which `host_output` says more.
        """
        lines = [line for line in self.lines if _UNHEALTHY not in line and not _NO_REASON.search(line)]
        reasons = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        if not reasons:
            reasons = [
                _PREFIX.sub("", line).strip('" ') for line in lines if "failed to " in line and _NO_GPU not in line
            ]
        return "\n  ".join(reasons) or None

    def host_output(self) -> str | None:
        """Return what the hosts wrote while they were loading, the lines that are not Triton's; None if nothing."""
        lines = self.lines
        first = next((i for i, line in enumerate(lines) if '] "loading: ' in line), len(lines))
        end = next((i for i, line in enumerate(lines) if _UNHEALTHY in line), len(lines))  # Triton says more after it
        return (
            "\n  ".join(line.strip() for line in lines[first:end] if line.strip() and not _PREFIX.match(line)) or None
        )


def is_alarm(line: str) -> bool:
    """Return whether a line is a warning or an error of Triton's."""
    return line[:1] in ("E", "W") and _PREFIX.match(line) is not None
