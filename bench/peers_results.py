"""What was measured, as it lies in `results.json`, and the statistics of it.

Knows nothing about processes; every list may be incomplete, for a run can be interrupted at any time.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

__all__ = ["Arrivals", "Results", "Sample", "Spread", "arrival_times", "machine_of", "percentile_ms", "smallest_cosine"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One contender on one workload in one round.

    Attributes:
        round: From 0.
        contender: Its name.
        workload: Its name.
        width: Texts in a batch, or clients at once.
        tokens: Of the workload.
        seconds: Of each timed group: one, or one for each text where each is timed alone.
        processor_s: Seconds of processor time of the contender's whole process tree, for all groups.
        peak_memory: Bytes, of the process tree so far.
    """

    round: int
    contender: str
    workload: str
    width: int
    tokens: int
    seconds: list[float]
    processor_s: float
    peak_memory: int


@dataclass(frozen=True, slots=True)
class Arrivals:
    """One contender under texts that arrive at random times.

    Attributes:
        contender: Its name.
        workload: Which texts.
        share: Of its capacity that the rate is.
        rate: Texts a second.
        latencies: Seconds of each text.
    """

    contender: str
    workload: str
    share: float
    rate: float
    latencies: list[float]


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, smallest and largest of some rounds."""

    median: float
    smallest: float
    largest: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values), len(values))


@dataclass(slots=True)
class Results:
    """Everything that one run measured.

    Attributes:
        machine: Processor, cores, memory, date.
        rounds: That were planned.
        reference: Whose vectors all others are compared with.
        versions: Of each contender's libraries.
        load_s: Seconds until each contender was loaded, the last time.
        not_run: Contenders that could not run, and why; or `contender/workload`.
        widths: The best batch size of each contender, by workload.
        cosines: The smallest cosine of each contender with the reference.
        samples: In the order in which they were taken.
        ceilings: Of each round, tokens a second by kind of product and library, or why there is none.
        arrivals: The open-loop test.
    """

    machine: dict[str, str] = field(default_factory=dict)
    rounds: int = 0
    reference: str = ""
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    load_s: dict[str, float] = field(default_factory=dict)
    not_run: dict[str, str] = field(default_factory=dict)
    widths: dict[str, dict[str, int]] = field(default_factory=dict)
    cosines: dict[str, float] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    ceilings: list[dict[str, float | str]] = field(default_factory=list)
    arrivals: list[Arrivals] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read what `save` wrote."""
        stored = json.loads(path.read_text("utf-8"))
        stored["samples"] = [Sample(**sample) for sample in stored["samples"]]
        stored["arrivals"] = [Arrivals(**arrivals) for arrivals in stored["arrivals"]]
        return cls(**stored)

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(self), indent=1) + "\n", "utf-8")
        partial.replace(path)

    def tokens_per_s(self, contender: str, workload: str, width: int | None = None) -> Spread | None:
        """Throughput over the rounds, or None if there was none; without a width that of the largest one."""
        found = self._samples(contender, workload, width)
        return Spread.of([s.tokens / sum(s.seconds) for s in found]) if found else None

    def query_ms(self, contender: str) -> Spread | None:
        """The median query of each round, in milliseconds; None if there was none."""
        found = self._samples(contender, "query", None)
        return Spread.of([1e3 * statistics.median(s.seconds) for s in found]) if found else None

    def gain(self, workload: str, one: str, other: str) -> float | None:
        """How many times faster one is than the other, from medians; for `query` by latency."""
        if workload == "query":
            times = self.query_ms(one), self.query_ms(other)
            return times[1].median / times[0].median if times[0] and times[1] else None
        rates = self.tokens_per_s(one, workload), self.tokens_per_s(other, workload)
        return rates[0].median / rates[1].median if rates[0] and rates[1] else None

    def best(self, workload: str, contenders: Sequence[str]) -> str | None:
        """The fastest of some, or None if none was measured."""
        measured = [name for name in contenders if self.gain(workload, name, name)]
        return max(measured, key=lambda name: self.gain(workload, name, measured[0]) or 0.0, default=None)

    def peak_memory(self, contender: str) -> int | None:
        """Bytes, the most of all rounds, but for the texts that are embedded once."""
        found = [s.peak_memory for s in self.samples if s.contender == contender and s.workload != "8192"]
        return max(found, default=None)

    def ceiling(self, precision: str) -> tuple[str, float] | None:
        """The library with the fastest products of a precision, and its median tokens a second."""
        rates: dict[str, list[float]] = {}
        for measured in self.ceilings:
            for name, rate in measured.items():
                if name.startswith(f"{precision} ") and not isinstance(rate, str):
                    rates.setdefault(name.partition(" ")[2], []).append(rate)
        medians = {name: statistics.median(taken) for name, taken in rates.items()}
        best = max(medians, key=medians.__getitem__, default=None)
        return (best, medians[best]) if best is not None else None

    def _samples(self, contender: str, workload: str, width: int | None) -> list[Sample]:
        found = [s for s in self.samples if (s.contender, s.workload) == (contender, workload)]
        wanted = max((s.width for s in found), default=0) if width is None else width
        return [s for s in found if s.width == wanted]


def smallest_cosine(vectors: Sequence[Sequence[float]], reference: Sequence[Sequence[float]]) -> float:
    """The smallest cosine of two sets of vectors, row by row."""
    ours, theirs = np.array(vectors, np.float64), np.array(reference, np.float64)
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return float(((ours * theirs).sum(axis=1) / lengths).min())


def percentile_ms(seconds: Sequence[float], percent: float) -> float:
    """A percentile in milliseconds."""
    return 1e3 * float(np.percentile(np.array(seconds, np.float64), percent))


def arrival_times(rate: float, count: int, *, seed: int) -> list[float]:
    """Seconds at which texts arrive, independently of one another (a Poisson process), the first at 0."""
    gaps = np.random.default_rng(seed).exponential(1 / rate, count)
    gaps[0] = 0
    return [float(at) for at in np.cumsum(gaps)]


def machine_of(facts: Mapping[str, str]) -> str:
    """What batch sizes are tuned for: another processor may want others."""
    return f"{facts['processor']}, {facts['cores']} cores"
