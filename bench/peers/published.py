"""The figures of one kind of processor, as `docs/benchmarks/<kind>.json` holds them, and the folder of all kinds.

A run replaces the file of its own kind and no other. Knows nothing about processes, and nothing about Markdown.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.peers.contenders import CONTENDERS
from bench.peers.results import FOREIGN_LIMIT, STEADY, Results, Spread, percentile_ms
from bench.peers.workloads import WORKLOADS

# The contenders whose ratios to the peers are published.
INT8, FP32 = "qwen3-triton-int8-served", "qwen3-triton-fp32-served"

Figures = dict[str, dict[str, Spread]]


@dataclass(frozen=True, slots=True)
class Load:
    """One contender with texts that arrive at random times.

    Attributes:
        contender: The contender's name.
        workload: The name of the workload whose texts arrive.
        share: The rate as a share of the contender's capacity.
        rate: Texts per second.
        percentiles_ms: Latency by percentile: 50, 90 and 99.
    """

    contender: str
    workload: str
    share: float
    rate: float
    percentiles_ms: dict[str, float]


@dataclass(frozen=True, slots=True)
class Identity:
    """What a contender was.

    Attributes:
        cosine: The smallest cosine with the reference; None if it was not compared.
        widths: The best batch size, by workload.
        peak_memory_gib: The largest memory of its processes, without the workloads measured apart.
        load_s: Seconds that it took to load.
        versions: The versions of its libraries.
    """

    cosine: float | None
    widths: dict[str, int]
    peak_memory_gib: float | None
    load_s: float
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Published:
    """The published figures of one kind of processor.

    Attributes:
        kind: The kind: `avx2`, `avx512-vnni`, `amx` and so on; the name of its file.
        machine: Processor, cores, memory, date.
        conditions: How quiet the machine was and how many rounds were taken, by name.
        remarks: What a reader must know of these figures besides, in whole sentences.
        figures: Tokens per second by workload and contender; milliseconds if each text is timed alone.
        clients: For contenders behind a server, tokens per second by `contender/workload` and number of clients.
        ratios: How many times as fast a contender of ours is as a peer, by `ours/workload` and peer.
        costs: The share of the throughput in process that the server takes away, by contender and workload.
        ceilings: Tokens per second by kind of product and library, or why there is no figure.
        shares: Tokens per second relative to the ceiling, by contender and workload.
        loads: The results of the test with random arrivals.
        contenders: What the contenders were.
        not_run: Why contenders could not run, by `contender` or `contender/workload`.
    """

    kind: str
    machine: dict[str, str]
    conditions: dict[str, str]
    remarks: list[str] = field(default_factory=list)
    figures: Figures = field(default_factory=dict)
    clients: Figures = field(default_factory=dict)
    ratios: Figures = field(default_factory=dict)
    costs: Figures = field(default_factory=dict)
    ceilings: dict[str, Spread | str] = field(default_factory=dict)
    shares: Figures = field(default_factory=dict)
    loads: list[Load] = field(default_factory=list)
    contenders: dict[str, Identity] = field(default_factory=dict)
    not_run: dict[str, str] = field(default_factory=dict)

    def save(self, folder: Path) -> Path:
        """Write the kind's file, whole or not at all; returns it."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.kind}.json"
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(_rounded(asdict(self)), indent=1) + "\n", "utf-8")
        partial.replace(path)
        return path

    @classmethod
    def load(cls, path: Path) -> Published:
        """Read a file that `save` wrote."""
        stored = json.loads(path.read_text("utf-8"))
        for name in ("figures", "clients", "ratios", "costs", "shares"):
            stored[name] = {
                key: {inner: Spread(**spread) for inner, spread in row.items()} for key, row in stored[name].items()
            }
        stored["ceilings"] = {
            name: found if isinstance(found, str) else Spread(**found) for name, found in stored["ceilings"].items()
        }
        stored["loads"] = [Load(**load) for load in stored["loads"]]
        stored["contenders"] = {name: Identity(**told) for name, told in stored["contenders"].items()}
        return cls(**stored)


def load_all(folder: Path) -> list[Published]:
    """Read the files of all kinds, in the order of their names."""
    return [Published.load(path) for path in sorted(folder.glob("*.json"))]


def with_earlier_remarks(published: Published, folder: Path) -> Published:
    """Return figures with the remarks that a person has added to the file of their kind, if that is of the same day."""
    same = [found for found in load_all(folder) if (found.kind, found.machine) == (published.kind, published.machine)]
    return replace(published, remarks=[remark for found in same for remark in found.remarks])


def kind_of(instruction_sets: Sequence[str]) -> str:
    """Return the kind of a processor: the newest of its instruction sets that matter, as a file name.

    Args:
        instruction_sets: As `qwen3_export.cpu.instruction_sets` returns them, such as `("AVX2", "AVX-512")`.
    """
    newest = instruction_sets[-1] if instruction_sets else "other"
    return newest.lower().replace("avx-512", "avx512").replace(" ", "-")


def publish(results: Results) -> Published:
    """Return what is published of a run."""
    measured = [contender for contender in CONTENDERS if any(s.contender == contender.name for s in results.samples)]
    workloads = [workload.name for workload in WORKLOADS]
    ours = [contender for contender in measured if contender.name in (INT8, FP32)]
    served = [contender for contender in measured if contender.clients]
    peers = [contender for contender in measured if not contender.ours]
    return Published(
        results.kind,
        results.machine,
        _conditions(results),
        figures=_table(workloads, [c.name for c in measured], lambda w, c: results.figure(c, w)),
        clients=_table(
            [f"{contender.name}/{workload}" for contender in served for workload in ("short", "mixed")],
            [str(width) for contender in served[:1] for width in contender.widths],
            lambda key, width: results.figure(key.partition("/")[0], key.partition("/")[2], int(width)),
        ),
        ratios={
            key: row
            for one in ours
            for key, row in _table(
                [f"{one.name}/{workload}" for workload in workloads],
                [peer.name for peer in peers if one.name == INT8 or peer.precision == one.precision],
                lambda key, peer: results.gain(key.partition("/")[2], key.partition("/")[0], peer),
            ).items()
        },
        costs=_table(
            [contender.name for contender in served],
            ["short", "mixed"],
            lambda name, workload: _cost(results, name, workload),
        ),
        ceilings=_ceilings(results),
        shares=_table(
            [contender.name for contender in measured],
            ["512", "mixed"],
            lambda name, workload: results.share_of_ceiling(workload, name, _precision(name)),
        ),
        loads=[
            Load(
                found.contender,
                found.workload,
                found.share,
                found.rate,
                {str(percent): percentile_ms(found.latencies, percent) for percent in (50, 90, 99)},
            )
            for found in results.arrivals
            if results.counts(found)
        ],
        contenders={name: _identity(results, name) for name in results.versions},
        not_run=dict(results.not_run),
    )


def _table(keys: Sequence[str], columns: Sequence[str], cell: Callable[[str, str], Spread | None]) -> Figures:
    """Return the cells that there are, and the rows that have any."""
    rows = {key: {column: found for column in columns if (found := cell(key, column))} for key in keys}
    return {key: row for key, row in rows.items() if row}


def _cost(results: Results, name: str, workload: str) -> Spread | None:
    engine = next(contender.served_from for contender in CONTENDERS if contender.name == name)
    share = results.gain(workload, name, engine) if engine else None
    return Spread(1 - share.median, 1 - share.largest, 1 - share.smallest, share.count) if share else None


def _precision(name: str) -> str:
    return next(contender.precision for contender in CONTENDERS if contender.name == name)


def _ceilings(results: Results) -> dict[str, Spread | str]:
    told: dict[str, Spread | str] = {}
    for name in sorted({name for ceiling in results.ceilings for name in ceiling}):
        taken = [ceiling[name] for ceiling in results.ceilings if name in ceiling]
        rates = [rate for rate in taken if not isinstance(rate, str)]
        told[name] = Spread.of(rates) if rates else str(taken[0])
    return told


def _identity(results: Results, name: str) -> Identity:
    memory = results.peak_memory(name)
    return Identity(
        results.cosines.get(name),
        results.widths.get(name, {}),
        memory / 2**30 if memory else None,
        results.load_s[name],
        results.versions[name],
    )


def _conditions(results: Results) -> dict[str, str]:
    """State the rounds, the load, and what was thrown away."""
    told = {"rounds": str(results.rounds), "load average before the run": f"{results.load_average:.2f}"}
    kept = [100 * sample.foreign for sample in results.samples if results.counts(sample)]
    if kept:
        told["cores' time taken by others, in samples that count"] = (
            f"{statistics.median(kept):.1f}% (at most {max(kept):.1f}%)"
        )
    thrown = len(results.samples) - len(kept)
    if results.foreign_limit == FOREIGN_LIMIT:
        told["samples thrown away"] = (
            f"{thrown} of {len(results.samples)}, because others took more than {results.foreign_limit:.0%} or the "
            f"speed of the cores was more than {results.core_speed_range:.0%} from the median"
        )
    else:
        told["samples thrown away"] = "none, whatever others took"
    unsteady, figures = results.unsteady()
    told[f"figures whose middle half of rounds differs by more than {STEADY:.0%}"] = f"{unsteady} of {figures}"
    return told


def _rounded(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return JSON whose numbers have six significant digits, so that files stay short and differences readable."""
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
