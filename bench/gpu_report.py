"""The report of the GPU measurements: statistics, utilisation, a page with tables, and plots.

`gpu.py` measures; this module knows nothing about GPUs, models or clocks.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np


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


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that one run measured.

    Attributes:
        environment: Names and versions of what was used.
        matmul_flops: Rate of one large bfloat16 matrix product, in operations per second.
        parameters: For each size, the number of parameters that every token is multiplied by.
        agreements: Agreement with transformers, and batch invariance.
        timings: Throughput, skewed batches and latency.
    """

    environment: Mapping[str, str]
    matmul_flops: float
    parameters: Mapping[str, int]
    agreements: Sequence[Agreement]
    timings: Sequence[Timing]


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


def write_report(results: Results, folder: Path) -> None:
    """Write `gpu.json`, `gpu.md` and two plots into an existing folder."""
    (folder / "gpu.json").write_text(json.dumps(asdict(results), indent=2) + "\n", "utf-8")
    (folder / "gpu.md").write_text(page(results), "utf-8")
    _plot(results, folder)


def page(results: Results) -> str:
    """Return all results as Markdown."""
    parts = [
        "# GPU measurements\n",
        *(f"- {name}: {value}" for name, value in results.environment.items()),
        f"- one large bfloat16 product: {results.matmul_flops / 1e12:,.0f} TFLOP/s\n",
        "## Agreement\n",
        _table(
            ("model", "compared", "smallest cosine", "largest difference", "same bits"),
            (
                (a.size, a.what, f"{a.cosine:.6f}", f"{a.difference:.1e}", f"{a.same_bits} of {a.texts}")
                for a in results.agreements
            ),
        ),
        "## Throughput\n",
        _table(
            ("model", "batch", "texts", "tokens", "by", "tokens/s", "utilisation", "10th to 90th percentile"),
            (_throughput_row(t, results) for t in results.timings if t.work != "query"),
        ),
        "## Latency of one query\n",
        _table(
            ("model", "tokens", "by", "p50", "p99"),
            ((t.size, str(t.tokens), t.arm, *_milliseconds(t, 50, 99)) for t in results.timings if t.work == "query"),
        ),
    ]
    return "\n".join(parts)


def _throughput_row(timing: Timing, results: Results) -> tuple[str, ...]:
    head = (timing.size, timing.work, str(timing.texts), f"{timing.tokens:,}", timing.arm)
    if not timing.seconds:
        return (*head, timing.note, "", "")
    rate = timing.tokens / statistics.median(timing.seconds)
    share = utilisation(rate, results.parameters[timing.size], results.matmul_flops)
    return (*head, f"{rate:,.0f}", f"{share:.0%}", " to ".join(_milliseconds(timing, 10, 90)))


def _milliseconds(timing: Timing, *percents: float) -> list[str]:
    if not timing.seconds:
        return [timing.note, *[""] * (len(percents) - 1)]
    return [f"{percentile(timing.seconds, percent) * 1e3:,.1f} ms" for percent in percents]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _plot(results: Results, folder: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")  # no display
    from matplotlib import pyplot as plt

    for size in results.parameters:
        figure, axes = plt.subplots(1, 2, figsize=(11, 4))
        for arm in dict.fromkeys(t.arm for t in results.timings):
            for axis, work in zip(axes, ("mixed", "equal"), strict=True):
                points = [
                    (t.tokens, t.tokens / statistics.median(t.seconds))
                    for t in results.timings
                    if (t.size, t.work, t.arm) == (size, work, arm) and t.seconds
                ]
                axis.plot(*zip(*points, strict=True), marker="o", label=arm) if points else None
                axis.set(xscale="log", xlabel="tokens in the batch", ylabel="tokens/s", title=f"{size}, {work} lengths")
        axes[0].legend()
        figure.tight_layout()
        figure.savefig(folder / f"throughput-{size}.png", dpi=120)
        plt.close(figure)

    queries = [t for t in results.timings if t.work == "query" and t.seconds]
    figure, axis = plt.subplots(figsize=(8, 4))
    axis.boxplot([[s * 1e3 for s in t.seconds] for t in queries], whis=(1, 99), showfliers=False)
    axis.set_xticklabels([f"{t.size}\n{t.arm}" for t in queries], fontsize=7)
    axis.set(ylabel="ms", title="One query, 1st to 99th percentile")
    figure.tight_layout()
    figure.savefig(folder / "latency.png", dpi=120)
    plt.close(figure)
