"""The results as `results.json` holds them, and their statistics.

Every list may be incomplete, because a run can be interrupted at any time. Knows nothing about processes.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np


@dataclass(frozen=True, slots=True)
class Sample:
    """One contender on one workload in one round.

    Attributes:
        round: The number of the round, from 0.
        contender: The contender's name.
        workload: The workload's name.
        width: The batch size, or the number of clients.
        tokens: Tokens of the workload.
        seconds: Seconds of each timed group: one group, or one per text if each text is timed alone.
        processor_s: Processor time of the contender's process tree for all groups, in seconds.
        peak_memory: Largest memory of the process tree so far, in bytes.
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
    """One contender with texts that arrive at random times.

    Attributes:
        contender: The contender's name.
        workload: The name of the workload whose texts arrive.
        share: The rate as a share of the contender's capacity.
        rate: Texts per second.
        latencies: Seconds from each text's arrival to its vector.
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
        """Compute it for at least one value."""
        return cls(statistics.median(values), min(values), max(values), len(values))


@dataclass(slots=True)
class Results:
    """Everything that one run measured.

    Attributes:
        machine: Processor, cores, memory, date.
        rounds: How many rounds were planned.
        reference: The contender with whose vectors the others are compared.
        versions: The versions of each contender's libraries.
        load_s: Seconds that each contender took to load, the last time.
        not_run: Why contenders could not run, by `contender` or `contender/workload`.
        widths: The best batch size of each contender, by workload.
        cosines: The smallest cosine of each contender with the reference.
        samples: All samples, in the order in which they were taken.
        ceilings: For each round, tokens per second by kind of product and library, or why there is no figure.
        arrivals: The results of the test with random arrivals.
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
        """Read a file that `save` wrote."""
        stored = json.loads(path.read_text("utf-8"))
        stored["samples"] = [Sample(**sample) for sample in stored["samples"]]
        stored["arrivals"] = [Arrivals(**arrivals) for arrivals in stored["arrivals"]]
        return cls(**stored)

    def save(self, path: Path) -> None:
        """Write a file, whole or not at all."""
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(self), indent=1) + "\n", "utf-8")
        partial.replace(path)

    def tokens_per_s(self, contender: str, workload: str, width: int | None = None) -> Spread | None:
        """Return the throughput over the rounds for a width, or for the largest one; None if it was not measured."""
        found = self._samples(contender, workload, width)
        return Spread.of([s.tokens / sum(s.seconds) for s in found]) if found else None

    def query_ms(self, contender: str) -> Spread | None:
        """Return the median latency of a query in each round, in milliseconds; None if it was not measured."""
        found = self._samples(contender, "query", None)
        return Spread.of([1e3 * statistics.median(s.seconds) for s in found]) if found else None

    def gain(self, workload: str, one: str, other: str) -> float | None:
        """Return how many times faster one contender is than another, by medians; for `query`, by latency."""
        if workload == "query":
            times = self.query_ms(one), self.query_ms(other)
            return times[1].median / times[0].median if times[0] and times[1] else None
        rates = self.tokens_per_s(one, workload), self.tokens_per_s(other, workload)
        return rates[0].median / rates[1].median if rates[0] and rates[1] else None

    def best(self, workload: str, contenders: Sequence[str]) -> str | None:
        """Return the fastest of some contenders; None if none was measured."""
        measured = [name for name in contenders if self.gain(workload, name, name)]
        return max(measured, key=lambda name: self.gain(workload, name, measured[0]) or 0.0, default=None)

    def peak_memory(self, contender: str) -> int | None:
        """Return the largest memory of all rounds in bytes, without the workloads that are measured once."""
        found = [s.peak_memory for s in self.samples if s.contender == contender and s.workload != "8192"]
        return max(found, default=None)

    def ceiling(self, precision: str) -> tuple[str, float] | None:
        """Return the library with the fastest products of a precision, and its median tokens per second."""
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
    """Return the smallest cosine between the rows of two sets of vectors."""
    ours, theirs = np.array(vectors, np.float64), np.array(reference, np.float64)
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return float(((ours * theirs).sum(axis=1) / lengths).min())


def percentile_ms(seconds: Sequence[float], percent: float) -> float:
    """Return a percentile in milliseconds."""
    return 1e3 * float(np.percentile(np.array(seconds, np.float64), percent))


def arrival_times(rate: float, count: int, *, seed: int) -> list[float]:
    """Return the seconds at which texts arrive: a Poisson process whose first text arrives at 0."""
    gaps = np.random.default_rng(seed).exponential(1 / rate, count)
    gaps[0] = 0
    return [float(at) for at in np.cumsum(gaps)]


def machine_of(facts: Mapping[str, str]) -> str:
    """Return the name under which batch sizes are kept, because another processor may need others."""
    return f"{facts['processor']}, {facts['cores']} cores"
