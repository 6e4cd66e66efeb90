"""The measurement: rounds in which every contender has a turn.

In each turn a new process is started, loads the model, warms up, is timed, and ends. So contenders share neither memory
nor caches. A sample during which other processes took too much of the cores' time, or around which the cores had an
unusual speed, is taken again, a few times. Rounds go on until all figures are steady or the time is over. If a
contender fails, that is noted and the others continue. Results are saved after every turn.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bench.peers.checkpoint import SHAPE
from bench.peers.contenders import Contender, Environment, Folders
from bench.peers.core_speed import CoreSpeed
from bench.peers.environments import EnvironmentFailedError, python_of
from bench.peers.process import Worker, WorkerFailedError, own_python
from bench.peers.results import (
    CORE_SPEED_RANGE,
    FOREIGN_LIMIT,
    Arrivals,
    Results,
    Sample,
    arrival_times,
    machine_of,
    smallest_cosine,
)
from bench.peers.workers.usage import Watch
from bench.peers.workloads import PROBE, Text, Workload, Writer

_SHARES = (0.3, 0.6, 0.8, 0.95)  # rates of random arrivals, as shares of a contender's capacity
_ONE_LONG_TEXT_S = 180.0  # time-out for workloads that are measured apart
_PASSES = 2  # how often those are measured: after each of the first rounds
_ATTEMPTS = 5  # how often a sample is taken until it counts
_USUAL_SPEED_S = 20.0  # seconds for which a sample waits until the cores have their usual speed
_REFERENCE = ("sentence-transformers-fp32", "qwen3-triton-fp32")  # the first of them that runs
# The contenders that are tested with random arrivals, besides the best OpenVINO.
_QUEUE = ("qwen3-triton-int8-served", "sentence-transformers-bf16")
_Taken = TypeVar("_Taken", Sample, Arrivals)
_SHAPE_KEYS = (
    "hidden_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "num_hidden_layers",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure.

    Attributes:
        contenders: The contenders to measure.
        workloads: The workloads to measure them on.
        rounds: The smallest number of rounds.
        limit_s: Seconds within which a further round must be likely to end, or else it is not begun.
        threads: Threads of every contender.
        arrivals_s: Seconds of the test with random arrivals at each rate; 0 to leave it out.
    """

    contenders: Sequence[Contender]
    workloads: Sequence[Workload]
    rounds: int
    limit_s: float
    threads: int
    arrivals_s: float


class Bench:
    """One run.

    Args:
        plan: What to measure.
        folders: The folders of the benchmark.
        environments: The environments of the peers.
        writer: Writes the texts.
        results: The results to complete; they describe the machine already.
        file: The file to save them to.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        folders: Folders,
        environments: Sequence[Environment],
        writer: Writer,
        results: Results,
        file: Path,
    ) -> None:
        self._plan, self._folders, self._results, self._file = plan, folders, results, file
        self._environments = {environment.name: environment for environment in environments}
        self._writer = writer
        self._probe = writer.write(PROBE.lengths)
        self._written = 0
        self._pythons: dict[str, Path] = {}
        self._reference: list[list[float]] = []
        self._turns_s: dict[str, list[float]] = {}
        self._cores = CoreSpeed(plan.threads)

    def run(self, contenders_for_reference: Sequence[Contender]) -> None:
        """Run everything, from creating environments to the test with random arrivals."""
        self._prepare()
        self._take_reference(contenders_for_reference)
        running = self._running()
        ends = time.monotonic() + self._plan.limit_s
        while self._another_round(ends):
            number = self._results.rounds
            self._round(running, number)
            # Not all at the end, so that a run that is interrupted has everything once before anything twice.
            if number < _PASSES:
                for contender in running:
                    self._measure_apart(contender, number)
        if self._plan.arrivals_s:
            self.run_arrivals()

    def run_arrivals(self) -> None:
        """Test contenders with texts that arrive at random times, at rising shares of each one's measured capacity."""
        self._results.arrivals.clear()
        for contender in self._plan.contenders:
            self._results.not_run.pop(f"{contender.name}/arrivals", None)
        running = self._running()
        best = self._results.best("mixed", [c.name for c in running if c.name.startswith("openvino")])
        for contender in running:
            if contender.name not in (*_QUEUE, best):
                continue
            try:
                with self._worker(contender) as worker:
                    worker.do("load", options=self._options(contender))
                    for workload in self._plan.workloads:
                        if workload.name in ("short", "mixed"):
                            self._arrive(contender, worker, workload)
            except (EnvironmentFailedError, WorkerFailedError) as error:
                self._not_run(f"{contender.name}/arrivals", error)

    def _running(self) -> Sequence[Contender]:
        """Return the contenders that have not failed as a whole."""
        return [contender for contender in self._plan.contenders if contender.name not in self._results.not_run]

    def _another_round(self, ends: float) -> bool:
        """Whether to begin a round: the smallest number is not reached, or figures are unsteady and there is time."""
        done = self._results.rounds
        if done < self._plan.rounds:
            return True
        unsteady, figures = self._results.unsteady()
        in_time = time.monotonic() + sum(turns[-1] for turns in self._turns_s.values()) <= ends
        why = ("another round" if in_time else "the time is over") if unsteady else "that is enough"
        print(f"after {done} rounds, {unsteady} of {figures} figures are not steady: {why}", flush=True)
        return bool(unsteady) and in_time

    def _round(self, running: Sequence[Contender], number: int) -> None:
        self._results.rounds = number + 1
        self._results.ceilings.append(self._ceilings())
        self._results.save(self._file)
        turns = running if number % 2 == 0 else running[::-1]
        for index, contender in enumerate(turns):
            if contender.name in self._results.not_run:
                continue
            started = time.monotonic()
            told = self._turn(contender, number)
            self._turns_s.setdefault(contender.name, []).append(time.monotonic() - started)
            self._results.save(self._file)
            left = self._left_s(turns[index + 1 :])
            head = f"round {number + 1}, {index + 1} of {len(turns)}: {contender.label}"
            print(f"{head}: {told}; about {left / 60:.0f} min left of the round", flush=True)

    # -- before the rounds -----------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Create environments and convert the checkpoint; contenders for which that fails are left out."""
        for contender in self._plan.contenders:
            try:
                self._worker_prepares(contender)
            except (EnvironmentFailedError, WorkerFailedError) as error:
                self._not_run(contender.name, error)

    def _worker_prepares(self, contender: Contender) -> None:
        if contender.ours:
            return
        with self._worker(contender) as worker:
            worker.do("prepare", options=self._options(contender), timeout_s=1800)

    def _take_reference(self, contenders: Sequence[Contender]) -> None:
        """Get the vectors that all others are compared with, from the first contender that gives any."""
        by_name = {contender.name: contender for contender in contenders}
        for name in _REFERENCE:
            try:
                with self._worker(by_name[name]) as worker:
                    worker.do("load", options=self._options(by_name[name]))
                    self._reference = worker.vectors(self._probe, width=1)
            except (EnvironmentFailedError, WorkerFailedError) as error:
                print(f"no reference from {name}: {error}", flush=True)
                continue
            self._results.reference = name
            return
        raise WorkerFailedError(f"no reference: none of {', '.join(_REFERENCE)} could run; see the messages above")

    def _ceilings(self) -> dict[str, float | str]:
        """Measure the ceilings; empty if that failed, or if others took too much of the cores each time."""
        numbers = [str(self._plan.threads), *(str(SHAPE[key]) for key in _SHAPE_KEYS)]
        command = [str(own_python()), "-m", "bench.peers.workers.ceilings", *numbers]
        for _ in range(_ATTEMPTS):
            before = self._usual_speed()
            watch = Watch()
            done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"no ceilings: {done.stderr.strip().splitlines()[-1]}", flush=True)
                return {}
            foreign = watch.foreign()
            if self._results.is_undisturbed(foreign=foreign, core_speed=self._core_speed(before)):
                found: dict[str, float | str] = json.loads(done.stdout)
                return found
        print("no ceilings in this round: others took too much of the cores", flush=True)
        return {}

    # -- one turn --------------------------------------------------------------------------------------------

    def _turn(self, contender: Contender, number: int) -> str:
        """Measure one contender on all workloads; returns a summary for the terminal."""
        told: list[str] = []
        workload_name = ""
        try:
            with self._worker(contender) as worker:
                loaded = worker.do("load", options=self._options(contender))
                self._results.load_s[contender.name] = loaded["seconds"]
                self._results.versions[contender.name] = loaded["versions"]
                self._compare(contender, worker)
                widths = self._best_widths(contender, worker)
                for workload in self._plan.workloads:
                    if workload.apart:
                        continue
                    workload_name = workload.name
                    for width in self._widths_of(contender, workload, widths):
                        sample = self._sample(contender, worker, workload, width, number)
                        told.append(self._in_words(workload, sample, show_width=contender.clients))
        except (EnvironmentFailedError, WorkerFailedError) as error:
            self._not_run(f"{contender.name}/{workload_name}" if workload_name else contender.name, error)
            told.append(f"{workload_name} failed: {error}")
        return ", ".join(told)

    def _sample(self, contender: Contender, worker: Worker, workload: Workload, width: int, number: int) -> Sample:
        """Take a sample, up to a few times until it counts; keeps all, and returns the last."""

        def take(before: float) -> Sample:
            measured = self._measure(worker, workload, width)
            return Sample(
                number,
                contender.name,
                workload.name,
                width,
                workload.tokens,
                measured["seconds"],
                measured["processor_s"],
                measured["peak_memory"],
                measured["foreign"],
                self._core_speed(before),
            )

        taken = self._until_it_counts(take)
        self._results.samples += taken
        return taken[-1]

    def _until_it_counts(self, take: Callable[[float], _Taken]) -> list[_Taken]:
        """Measure something until it counts, a few times at most; `take` gets the speed of the cores before it."""
        taken: list[_Taken] = []
        while len(taken) < _ATTEMPTS and not (taken and self._results.counts(taken[-1])):
            taken.append(take(self._usual_speed()))
        return taken

    def _usual_speed(self) -> float:
        """Wait until the cores have their usual speed, for a while, and return the speed at the end."""
        least = (1 - min(self._results.core_speed_range, 1)) * self._results.usual_core_speed
        return self._cores.wait(least, at_most_s=_USUAL_SPEED_S)

    def _core_speed(self, before: float) -> float:
        """Return the speed of the cores before or after a sample, whichever is less."""
        return min(before, self._cores.measure_after_work())

    def _expected_s(self, contender: Contender) -> float:
        """Estimate the seconds of the longest text, which has four times the tokens of the next one."""
        rate = self._results.figure(contender.name, "2048")
        return 6 * 2048 / rate.median if rate else 0.0

    def _measure(self, worker: Worker, workload: Workload, width: int) -> dict[str, Any]:
        texts = self._write(workload, workload.lengths)
        some = workload.lengths[: -(-len(texts) // 4)]
        warm_up = [self._write(workload, some)] if len(texts) > 1 else []
        groups = [[text] for text in texts] if workload.alone else [texts]
        return worker.measure(
            groups, width=width, warm_up=warm_up, timeout_s=_ONE_LONG_TEXT_S if workload.apart else 900.0
        )

    def _compare(self, contender: Contender, worker: Worker) -> None:
        """Compare the contender's vectors with the reference."""
        cosine = smallest_cosine(worker.vectors(self._probe, width=4), self._reference)
        self._results.cosines[contender.name] = cosine
        if cosine < contender.floor:
            print(
                f"{contender.label}: the cosine with {self._results.reference} is only {cosine:.5f}; it does not "
                "compute the same function",
                flush=True,
            )

    def _best_widths(self, contender: Contender, worker: Worker) -> dict[str, int]:
        """Return the best batch sizes for short and mixed texts, found once per machine and kept in a file."""
        if contender.clients or len(contender.widths) == 1:
            return {}
        path = self._folders.work / "batch-sizes.json"
        kept = json.loads(path.read_text()) if path.exists() else {}
        own = kept.setdefault(machine_of(self._results.machine), {}).setdefault(contender.name, {})
        for workload in self._plan.workloads:
            if workload.name in ("short", "mixed") and workload.name not in own:
                own[workload.name] = self._climb(contender, worker, workload)
                path.write_text(json.dumps(kept, indent=1))
        self._results.widths[contender.name] = dict(own)
        return dict(own)

    def _climb(self, contender: Contender, worker: Worker, workload: Workload) -> int:
        """Find the fastest batch size: starting at the second one, go up while it gets faster, or else down."""
        seconds: dict[int, float] = {}

        def time_of(index: int) -> float:
            width = contender.widths[index]
            if width not in seconds:
                seconds[width] = float(sum(self._measure(worker, workload, width)["seconds"]))
            return seconds[width]

        index = 1
        step = 1 if time_of(2) < time_of(1) else -1
        while 0 <= index + step < len(contender.widths) and time_of(index + step) < time_of(index):
            index += step
        return contender.widths[index]

    def _widths_of(self, contender: Contender, workload: Workload, best: Mapping[str, int]) -> Sequence[int]:
        if workload.alone:
            return (1,)
        if contender.clients:
            return contender.widths if workload.name in ("short", "mixed") else contender.widths[-1:]
        if len(contender.widths) == 1:
            return contender.widths
        return (best.get("short" if workload.instructed else workload.name, best.get("mixed", 4)),)

    # -- after the rounds ------------------------------------------------------------------------------------

    def _measure_apart(self, contender: Contender, number: int) -> None:
        """Measure the workloads that take minutes."""
        for workload in self._plan.workloads:
            if (
                not workload.apart
                or {contender.name, f"{contender.name}/{workload.name}"} & self._results.not_run.keys()
            ):
                continue
            try:
                if (expected := self._expected_s(contender)) > _ONE_LONG_TEXT_S:
                    raise WorkerFailedError(f"would take about {expected:.0f} s")
                with self._worker(contender) as worker:
                    worker.do("load", options=self._options(contender))
                    sample = self._sample(contender, worker, workload, 1, number)
            except (EnvironmentFailedError, WorkerFailedError) as error:
                self._not_run(f"{contender.name}/{workload.name}", error)
                continue
            self._results.save(self._file)
            print(
                f"pass {number + 1}: {contender.label}: {self._in_words(workload, sample, show_width=False)}",
                flush=True,
            )

    def _arrive(self, contender: Contender, worker: Worker, workload: Workload) -> None:
        rate = self._results.figure(contender.name, workload.name)
        if rate is None:
            return
        capacity = rate.median * len(workload.lengths) / workload.tokens
        width = 256 if contender.clients else self._results.widths[contender.name][workload.name]
        self._measure(worker, workload, contender.widths[-1] if contender.clients else width)
        for share in _SHARES:
            count = max(20, int(share * capacity * self._plan.arrivals_s))
            at_s = arrival_times(share * capacity, count, seed=7)
            arriving = self._write(workload, [workload.lengths[i % len(workload.lengths)] for i in range(count)])

            def take(
                before: float,
                share: float = share,
                at_s: Sequence[float] = at_s,
                arriving: Sequence[Text] = arriving,
            ) -> Arrivals:
                found = worker.arrivals(at_s, arriving, width=width, timeout_s=10 * at_s[-1] + 120)
                return Arrivals(
                    contender.name,
                    workload.name,
                    share,
                    share * capacity,
                    found["latencies"],
                    found["foreign"],
                    self._core_speed(before),
                )

            taken = self._until_it_counts(take)
            self._results.arrivals += taken
            self._results.save(self._file)
            middle = sorted(taken[-1].latencies)[count // 2]
            print(
                f"arrivals, {contender.label}, {workload.name}, {share:.0%}: median {1e3 * middle:.0f} ms", flush=True
            )

    # -- common ----------------------------------------------------------------------------------------------

    def _write(self, workload: Workload, lengths: Sequence[int]) -> list[Text]:
        """Write new texts, so that no contender can answer from a cache."""
        self._written += 1
        return self._writer.write(lengths, instructed=workload.instructed, seed=self._written)

    def _worker(self, contender: Contender) -> Worker:
        log = self._folders.work / "logs" / f"{contender.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        return Worker(contender.worker, python=self._python(contender), log=log)

    def _python(self, contender: Contender) -> Path:
        if contender.environment is None:
            return own_python()
        if contender.environment not in self._pythons:
            environment = self._environments[contender.environment]
            self._pythons[contender.environment] = python_of(environment, self._folders.work)
        return self._pythons[contender.environment]

    def _options(self, contender: Contender) -> dict[str, object]:
        return {**self._folders.fill(contender.options), "threads": self._plan.threads}

    def _not_run(self, what: str, error: Exception) -> None:
        self._results.not_run[what] = str(error)
        self._results.save(self._file)
        print(f"{what} is not run: {error}", flush=True)

    def _left_s(self, rest: Sequence[Contender]) -> float:
        """Estimate the seconds of some turns: each takes as long as it took before, or as the mean of all so far."""
        taken = [seconds for turns in self._turns_s.values() for seconds in turns]
        mean = sum(taken) / len(taken)
        return sum(self._turns_s.get(contender.name, [mean])[-1] for contender in rest)

    def _in_words(self, workload: Workload, sample: Sample, *, show_width: bool) -> str:
        name = f"{workload.name} x{sample.width}" if show_width else workload.name
        figure = f"{1e3 / sample.speed:.0f} ms" if workload.alone else f"{sample.speed:.0f} tok/s"
        others = f" (others took {sample.foreign:.0%})" if sample.foreign > FOREIGN_LIMIT else ""
        share = sample.core_speed / self._results.usual_core_speed
        unusual = f" (cores at {share:.0%} of their usual speed)" if abs(share - 1) > CORE_SPEED_RANGE else ""
        return f"{name} {figure}{others}{unusual}"
