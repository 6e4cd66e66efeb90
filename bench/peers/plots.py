"""Two plots of the comparison: tokens per second of each contender, and latency by load."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from bench.peers.contenders import CONTENDERS
from bench.peers.published import Published

_OURS, _THEIRS = "#1f6feb", "#9aa4b2"
_SHOWN = ("short", "mixed", "512")


def plot(found: Published, folder: Path) -> list[Path]:
    """Write `throughput-KIND.png` and `latency-KIND.png`, each if it was measured; returns the files."""
    import matplotlib as mpl

    mpl.use("Agg")  # no display
    from matplotlib import pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    written = []
    if any(workload in found.figures for workload in _SHOWN):
        written.append(folder / f"throughput-{found.kind}.png")
        _throughput(plt, found, written[-1])
    if found.loads:
        written.append(folder / f"latency-{found.kind}.png")
        _latency(plt, found, written[-1])
    return written


def _throughput(plt: ModuleType, found: Published, file: Path) -> None:
    """Plot bars, sorted by speed on mixed texts, with a line for the spread over the rounds."""
    known = {contender.name: contender for contender in CONTENDERS}
    rows = [found.figures.get(workload, {}) for workload in _SHOWN]
    measured = {name for row in rows for name in row}

    def order(name: str) -> float:
        rate = found.figures.get("mixed", {}).get(name) or found.figures.get("short", {}).get(name)
        return rate.median if rate else 0.0

    names = sorted((name for name in known if name in measured), key=order)
    figure, axes = plt.subplots(
        1, len(_SHOWN), figsize=(11, 1.2 + 0.34 * len(names)), sharey=True, layout="constrained"
    )
    for axis, workload in zip(axes, _SHOWN, strict=True):
        for y, name in enumerate(names):
            if (rate := found.figures.get(workload, {}).get(name)) is None:
                continue
            axis.barh(y, rate.median, color=_OURS if known[name].ours else _THEIRS, height=0.7)
            axis.plot([rate.smallest, rate.largest], [y, y], color="#24292f", linewidth=1)
            axis.annotate(
                f"{rate.median:,.0f}",
                (max(rate.largest, rate.median), y),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
            )
        axis.set(title={"512": "512-token documents"}.get(workload, f"{workload} texts"), xlabel="tokens/s")
        axis.margins(x=0.15)
        axis.tick_params(left=False)
    axes[0].set_yticks(range(len(names)), [known[name].label for name in names])
    figure.suptitle(f"{found.kind}, random 0.6B weights; bars are medians, lines from the slowest to the fastest round")
    figure.savefig(file, dpi=150)
    plt.close(figure)


def _latency(plt: ModuleType, found: Published, file: Path) -> None:
    """Plot p50 and p99 by the rate of arrivals, one panel for each workload."""
    workloads = list(dict.fromkeys(load.workload for load in found.loads))
    names = list(dict.fromkeys(load.contender for load in found.loads))
    labels = {contender.name: contender.label for contender in CONTENDERS}
    colours = dict(zip(names, ("#1f6feb", "#d1580b", "#6e40aa", "#1a7f37"), strict=False))
    figure, axes = plt.subplots(1, len(workloads), figsize=(11, 4.8), squeeze=False, layout="constrained")
    for axis, workload in zip(axes[0], workloads, strict=True):
        for name in names:
            points = [load for load in found.loads if (load.contender, load.workload) == (name, workload)]
            for percent, style in (("50", "-"), ("99", "--")):
                axis.plot(
                    [load.rate for load in points],
                    [load.percentiles_ms[percent] for load in points],
                    style,
                    marker="o",
                    markersize=4,
                    color=colours[name],
                    label=f"{labels[name]}, p{percent}",
                )
        axis.set(yscale="log", xlabel="texts/s arriving", ylabel="ms", title=f"{workload} texts")
        axis.set_xlim(left=0)
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axis.grid(axis="y", color="#d0d7de", linewidth=0.6)
    handles, names_shown = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, names_shown, loc="outside lower center", ncols=len(names), fontsize=8)
    figure.suptitle(f"{found.kind}: latency by load, at 30, 60, 80 and 95% of each contender's capacity")
    figure.savefig(file, dpi=150)
    plt.close(figure)
