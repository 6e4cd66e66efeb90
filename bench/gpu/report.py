"""The report of the GPU measurements: statistics, utilisation, and a page with tables.

`sections.py` measures; this module knows nothing about GPUs, models or clocks.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Record = Mapping[str, Any]  # one result, a line of a section's file
KIND = "kind of kernel"  # records that compare the profile with a prediction


@dataclass(frozen=True, slots=True)
class Timing:
    """The times of one arm for one batch.

    Attributes:
        size: The model, such as `0.6B`.
        work: What was embedded: `query`, `mixed`, `equal` or `skewed`.
        tokens: Tokens of the batch without padding.
        texts: Texts of the batch.
        arm: The name of the arm.
        seconds: Seconds of each run; empty if the arm could not run the batch.
        note: Why it could not.
    """

    size: str
    work: str
    tokens: int
    texts: int
    arm: str
    seconds: tuple[float, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How much two sets of unit vectors of the same texts agree.

    Attributes:
        size: The model.
        what: Which two sets were compared.
        cosine: Smallest cosine of the two vectors of a text.
        difference: Largest difference of an element.
        same_bits: How many texts have exactly the same vector in both sets.
        texts: How many texts there are.
    """

    size: str
    what: str
    cosine: float
    difference: float
    same_bits: int
    texts: int


def non_embedding_parameters(config: Mapping[str, Any]) -> int:
    """Return the number of parameters in the matrices of all layers; those of norms are too few to matter."""
    hidden, heads, kv_heads = (config[key] for key in ("hidden_size", "num_attention_heads", "num_key_value_heads"))
    attention = 2 * hidden * config["head_dim"] * (heads + kv_heads)
    mlp = 3 * hidden * config["intermediate_size"]
    return int(config["num_hidden_layers"] * (attention + mlp))


def utilisation(tokens_per_s: float, parameters: int, matmul_flops: float) -> float:
    """Compute the model FLOP utilisation: two operations per token and parameter, relative to one large product.

    The operations of attention itself are not counted, so that the utilisation for long texts is underestimated.
    """
    return tokens_per_s * 2 * parameters / matmul_flops


def percentile(seconds: Sequence[float], percent: float) -> float:
    """Compute a percentile, interpolated between neighbouring values."""
    return float(np.percentile(np.asarray(seconds, np.float64), percent))


def agreement(size: str, what: str, ours: np.ndarray, theirs: np.ndarray) -> Agreement:  # type: ignore[type-arg]
    """Compare unit vectors, `[texts, dimensions]` each, row by row."""
    wide = ours.astype(np.float64), theirs.astype(np.float64)
    lengths = np.linalg.norm(wide[0], axis=1) * np.linalg.norm(wide[1], axis=1)
    return Agreement(
        size,
        what,
        cosine=float(((wide[0] * wide[1]).sum(axis=1) / lengths).min()),
        difference=float(np.abs(wide[0] - wide[1]).max()),
        same_bits=int((ours == theirs).all(axis=1).sum()),
        texts=len(ours),
    )


def mixed_lengths(tokens: int, *, shortest: int = 64, longest: int = 640, seed: int = 0) -> list[int]:
    """Return random lengths between two bounds that add up to `tokens`; the last one may be shorter.

    No text is longer than a quarter of the tokens, so that even a small batch has several texts.
    """
    random = np.random.default_rng(seed)
    longest = max(shortest, min(longest, tokens // 4))
    lengths: list[int] = []
    while (left := tokens - sum(lengths)) > 0:
        lengths.append(min(int(random.integers(shortest, longest + 1)), left))
    return lengths


def matmul_flops(size: int, seconds: Sequence[float]) -> float:
    """Compute the rate of a product of two square matrices, in operations per second, from the times of some runs."""
    return 2.0 * size**3 / statistics.median(seconds)


def append(path: Path, record: object) -> None:
    """Append a record to a file of results, and see that it is on the disk."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_records(folder: Path, sections: Sequence[str]) -> list[Record]:
    """Read what the sections have written so far. The last line of one that was stopped may be cut off."""
    records = []
    for section in sections:
        path = folder / f"{section}.jsonl"
        for line in path.read_text("utf-8").splitlines() if path.exists() else ():
            try:
                records.append(json.loads(line))
            except ValueError:
                continue
    return records


def write_page(records: Sequence[Record], path: Path) -> None:
    """Write all results as Markdown."""
    path.write_text(page(records), "utf-8")


def page(records: Sequence[Record]) -> str:
    """Return all results as Markdown."""

    def of(kind: str) -> list[Record]:
        return [record for record in records if record["kind"] == kind]

    facts = {k: v for record in of("environment") for k, v in record.items() if k not in ("kind", "section")}
    flops = next((float(record["flops"]) for record in of("flops")), 0.0)
    parameters = {record["size"]: int(record["parameters"]) for record in of("parameters")}
    timings = [
        Timing(*(record[key] for key in ("size", "work", "tokens", "texts", "arm", "seconds", "note")))
        for record in of("timing")
    ]
    return "\n".join(
        [
            "# GPU measurements\n",
            *(f"- {name}: {value}" for name, value in facts.items()),
            f"- one large bfloat16 product: {flops / 1e12:,.0f} TFLOP/s\n",
            "## Sections\n",
            _table(
                ("section", "state", "seconds"),
                ((r["section"], r["state"], f"{r['seconds']:.0f}") for r in of("section")),
            ),
            *(f"- {record['section']}: {record['text']}" for record in of("note")),
            "\n## Checks\n",
            _table(("check", "passed"), ((r["what"], "yes" if r["passed"] else "**no**") for r in of("check"))),
            "## Agreement\n",
            _table(
                ("model", "compared", "smallest cosine", "largest difference", "same bits"),
                (
                    (
                        r["size"],
                        r["what"],
                        f"{r['cosine']:.6f}",
                        f"{r['difference']:.1e}",
                        f"{r['same_bits']} of {r['texts']}",
                    )
                    for r in of("agreement")
                ),
            ),
            "## Throughput\n",
            _table(
                ("model", "batch", "texts", "tokens", "by", "tokens/s", "utilisation", "10th to 90th percentile"),
                (_throughput_row(t, parameters.get(t.size, 0), flops) for t in timings if t.work != "query"),
            ),
            "## Latency of one query\n",
            _table(
                ("model", "tokens", "by", "p50", "p99"),
                ((t.size, str(t.tokens), t.arm, *_milliseconds(t, 50, 99)) for t in timings if t.work == "query"),
            ),
            "## Served\n",
            _table(
                ("work", "clients", "tokens/s", "p50", "p99"),
                (
                    (
                        r["work"],
                        str(r["clients"]),
                        f"{r['tokens_per_s']:,.0f}",
                        *(f"{percentile(r['seconds'], p) * 1e3:,.1f} ms" for p in (50, 99)),
                    )
                    for r in of("served")
                ),
            ),
            "## Kinds of kernels, beside the model of `bench/gpu/model.py`\n",
            _table(
                ("batch", "kind", "calls", "us", "predicted us"),
                ((r["work"], r["name"], str(r["calls"]), f"{r['us']:,.0f}", _predicted(r)) for r in of(KIND)),
            ),
            *(_sum_of_kinds(work, of(KIND)) for work in dict.fromkeys(record["work"] for record in of(KIND))),
            "## Kernels\n",
            _table(
                ("batch", "kernel", "calls", "us"),
                ((r["work"], f"`{r['name']}`", str(r["calls"]), f"{r['us']:,.0f}") for r in of("kernel")),
            ),
        ]
    )


def _predicted(record: Record) -> str:
    predicted = record["predicted_us"]
    return "" if predicted is None else f"{predicted:,.0f}"


def _sum_of_kinds(work: str, records: Sequence[Record]) -> str:
    """Return a sentence about all kernels of a batch."""
    measured = sum(record["us"] for record in records if record["work"] == work)
    predicted = sum(record["predicted_us"] or 0 for record in records if record["work"] == work)
    return f"{work}: the kernels take {measured / 1e3:,.2f} ms, and the model predicts {predicted / 1e3:,.2f} ms.\n"


def _throughput_row(timing: Timing, parameters: int, flops: float) -> tuple[str, ...]:
    head = (timing.size, timing.work, str(timing.texts), f"{timing.tokens:,}", timing.arm)
    if not timing.seconds:
        return (*head, timing.note, "", "")
    rate = timing.tokens / statistics.median(timing.seconds)
    share = f"{utilisation(rate, parameters, flops):.0%}" if flops and parameters else ""
    return (*head, f"{rate:,.0f}", share, " to ".join(_milliseconds(timing, 10, 90)))


def _milliseconds(timing: Timing, *percents: float) -> list[str]:
    if not timing.seconds:
        return [timing.note, *[""] * (len(percents) - 1)]
    return [f"{percentile(timing.seconds, percent) * 1e3:,.1f} ms" for percent in percents]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
