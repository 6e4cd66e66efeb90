"""The results of one run as `results.json` holds them, and their statistics.

Every list may be incomplete, because a run can be interrupted at any time. A sample during which others took more than
`foreign_limit` of the cores' time, or before or after which the cores had less than `core_speed_limit` of their full
speed, is kept in the file, but counts in no figure. Knows nothing about processes.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from bench.peers.workloads import WORKLOADS

FOREIGN_LIMIT = 0.05  # share of the cores' time that others may take while a sample is taken
CORE_SPEED_RANGE = 0.1  # share of their usual speed by which the cores may be slower or faster around a sample
STEADY = 0.05  # a figure is steady if the middle half of its rounds differs by at most this share of the median

_ALONE = {workload.name for workload in WORKLOADS if workload.alone}
_APART = {workload.name for workload in WORKLOADS if workload.apart}


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
        foreign: Share of the cores' time that other processes and other virtual machines took meanwhile.
        core_speed: Speed of the cores before or after it, whichever was less, as `CoreSpeed` measures it.
    """

    round: int
    contender: str
    workload: str
    width: int
    tokens: int
    seconds: list[float]
    processor_s: float
    peak_memory: int
    foreign: float
    core_speed: float

    @property
    def speed(self) -> float:
        """Tokens per second; if each text is timed alone, texts per second, by the median."""
        if self.workload in _ALONE:
            return 1 / statistics.median(self.seconds)
        return self.tokens / sum(self.seconds)


@dataclass(frozen=True, slots=True)
class Arrivals:
    """One contender with texts that arrive at random times.

    Attributes:
        contender: The contender's name.
        workload: The name of the workload whose texts arrive.
        share: The rate as a share of the contender's capacity.
        rate: Texts per second.
        latencies: Seconds from each text's arrival to its vector.
        foreign: As in a sample.
        core_speed: As in a sample.
    """

    contender: str
    workload: str
    share: float
    rate: float
    latencies: list[float]
    foreign: float
    core_speed: float


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
        kind: The kind of processor, by its newest instruction set that matters.
        machine: Processor, cores, memory, date.
        load_average: The machine's load average of the last minute, before the run.
        foreign_limit: The share of the cores' time that others may take during a sample that counts.
        core_speed_limit: The share of `full_core_speed` that the cores must have before and after one.
        full_core_speed: The highest speed of the cores that was ever measured on this machine.
        rounds: How many rounds were begun.
        reference: The contender with whose vectors the others are compared.
        versions: The versions of each contender's libraries.
        load_s: Seconds that each contender took to load, the last time.
        not_run: Why contenders could not run, by `contender` or `contender/workload`.
        widths: The best batch size of each contender, by workload.
        cosines: The smallest cosine of each contender with the reference.
        samples: All samples, in the order in which they were taken.
        ceilings: For each round, tokens per second by kind of product and library, or why there is no figure; empty
            if others took too much.
        arrivals: The results of the test with random arrivals.
    """

    kind: str = ""
    machine: dict[str, str] = field(default_factory=dict)
    load_average: float = 0.0
    foreign_limit: float = FOREIGN_LIMIT
    core_speed_range: float = CORE_SPEED_RANGE
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

    @property
    def usual_core_speed(self) -> float:
        """The median speed of the cores around samples; 0 before the first."""
        speeds = [sample.core_speed for sample in self.samples]
        return statistics.median(speeds) if speeds else 0.0

    def counts(self, taken: Sample | Arrivals) -> bool:
        """Whether something was measured while others took little of the cores' time, at their usual speed."""
        return self.is_undisturbed(foreign=taken.foreign, core_speed=taken.core_speed)

    def is_undisturbed(self, *, foreign: float, core_speed: float) -> bool:
        """Whether others took little of the cores' time, at their usual speed; both as in a sample."""
        usual = self.usual_core_speed or core_speed
        return foreign <= self.foreign_limit and abs(core_speed - usual) <= self.core_speed_range * usual

    def figure(self, contender: str, workload: str, width: int | None = None) -> Spread | None:
        """Return what is published of a contender on a workload, for a width or for the largest one.

        That is tokens per second, or, if each text is timed alone, the median milliseconds of one; over the rounds.
        None if it was not measured.
        """
        speeds = self._by_round(contender, workload, width).values()
        if not speeds:
            return None
        return Spread.of([1e3 / speed for speed in speeds] if workload in _ALONE else list(speeds))

    def gain(self, workload: str, one: str, other: str) -> Spread | None:
        """Return how many times as fast one contender is as another, over the rounds in which both were measured."""
        ours, theirs = self._by_round(one, workload), self._by_round(other, workload)
        both = [number for number in ours if number in theirs]
        return Spread.of([ours[number] / theirs[number] for number in both]) if both else None

    def share_of_ceiling(self, workload: str, contender: str, precision: str) -> Spread | None:
        """Return the contender's tokens per second relative to the fastest library's products, over the rounds."""
        best = self.ceiling(precision)
        name = "" if best is None else f"{precision} {best[0]}"
        shares = [
            speed / rate
            for number, speed in self._by_round(contender, workload).items()
            if number < len(self.ceilings) and isinstance(rate := self.ceilings[number].get(name), float)
        ]
        return Spread.of(shares) if shares else None

    def best(self, workload: str, contenders: Sequence[str]) -> str | None:
        """Return the fastest of some contenders, by medians; None if none was measured."""
        medians = {
            name: statistics.median(found.values()) for name in contenders if (found := self._by_round(name, workload))
        }
        return max(medians, key=medians.__getitem__, default=None)

    def unsteady(self) -> tuple[int, int]:
        """Return how many figures are not steady, and how many there are, without the workloads measured apart."""
        wanted = {(s.contender, s.workload, s.width) for s in self.samples if s.workload not in _APART}
        steady = 0
        for contender, workload, width in wanted:
            speeds = list(self._by_round(contender, workload, width).values())
            if len(speeds) > 1:
                low, middle, high = np.percentile(speeds, (25, 50, 75))
                steady += bool((high - low) / middle <= STEADY)
        return len(wanted) - steady, len(wanted)

    def peak_memory(self, contender: str) -> int | None:
        """Return the largest memory of all rounds in bytes, without the workloads that are measured apart."""
        found = [s.peak_memory for s in self.samples if s.contender == contender and s.workload not in _APART]
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

    def _by_round(self, contender: str, workload: str, width: int | None = None) -> dict[int, float]:
        """Return the speed in each round, for a width or for the largest one, from the samples that count."""
        found = [s for s in self.samples if (s.contender, s.workload) == (contender, workload)]
        wanted = max((s.width for s in found), default=0) if width is None else width
        return {s.round: s.speed for s in found if s.width == wanted and self.counts(s)}


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
