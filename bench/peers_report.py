"""What the comparison amounts to, as Markdown tables.

Knows nothing about how anything was measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from peers_contenders import CONTENDERS, Contender
from peers_results import Results, Spread, percentile_ms
from peers_workloads import WORKLOADS, Workload

_BEGIN, _END = "<!-- written by make bench -->", "<!-- end of what make bench wrote -->"
_INT8, _FP32 = "qwen3-triton-int8-served", "qwen3-triton-fp32-served"


def write_document(results: Results, path: Path, *, plots: Sequence[Path]) -> None:
    """Write plots and tables between the two marks of the page; the text around them is hand-written.

    Args:
        results: The results.
        path: The page.
        plots: Images in a folder beside the page.

    Raises:
        ValueError: The page does not have the marks.
    """
    text = path.read_text("utf-8")
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{path} needs the lines {_BEGIN!r} and {_END!r}; tables are written between them")
    images = "".join(f"![{plot.stem}]({plot.relative_to(path.parent)})\n\n" for plot in plots)
    path.write_text(f"{before}{_BEGIN}\n\n{images}{page(results)}\n{_END}{after}", "utf-8")


def page(results: Results) -> str:
    """Return all tables."""
    facts = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    rounds = 1 + max((sample.round for sample in results.samples), default=-1)
    named = {contender.name: contender.label for contender in CONTENDERS}
    names = " | ".join(workload.name for workload in _workloads(results))
    parts = [
        f"{facts}. {rounds} of {results.rounds} rounds; medians, in brackets the smallest and the largest.",
        *_section(
            "Throughput, tokens/s",
            f"| {' | '.join(workload.name for workload in _workloads(results) if not workload.alone)}",
            _throughput(results),
        ),
        *_section("One query of 16 tokens", "| ms | against qwen3-triton int8, through Triton", _queries(results)),
        *_section(
            "Clients",
            "| workload | 1 client | 8 clients | 32 clients | in process | 32 clients cost",
            _clients(results),
        ),
        *_section(
            "Times faster than each peer",
            f"int8, through Triton | {names}",
            _gains(results, _INT8),
        ),
        *_section("", f"fp32, through Triton | {names}", _gains(results, _FP32)),
        *_section("Ceilings", "products | by | tokens/s", _ceilings(results)),
        *_section("", "share of its ceiling | precision | 512 | mixed", _shares(results)),
        *_section("Texts at random times", "| texts | load | texts/s | p50 | p90 | p99", _arrivals(results)),
        *_section("Contenders", "| cosine | batch: short, mixed | memory | loaded in | versions", _contenders(results)),
        *_section(
            "Not run",
            "what | why",
            [(named.get(name, f"`{name}`"), _cell(why)) for name, why in results.not_run.items()],
        ),
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _workloads(results: Results) -> list[Workload]:
    """Return the workloads that were measured."""
    measured = {sample.workload for sample in results.samples}
    return [workload for workload in WORKLOADS if workload.name in measured]


def _throughput(results: Results) -> Iterable[Sequence[str]]:
    for contender in _measured(results):
        rates = [results.tokens_per_s(contender.name, w.name) for w in _workloads(results) if not w.alone]
        yield (contender.label, *(_spread(rate) for rate in rates))


def _queries(results: Results) -> Iterable[Sequence[str]]:
    for contender in _measured(results):
        gain = results.gain("query", contender.name, _INT8)
        if latency := results.query_ms(contender.name):
            yield contender.label, _spread(latency, digits=1), f"{1 / gain:.2f}x" if gain else ""


def _clients(results: Results) -> Iterable[Sequence[str]]:
    for contender in _measured(results):
        if contender.served_from is None:
            continue
        for workload in ("short", "mixed"):
            rates = [results.tokens_per_s(contender.name, workload, clients) for clients in contender.widths]
            if not any(rates):
                continue
            gain = results.gain(workload, contender.served_from, contender.name)
            engine = _spread(results.tokens_per_s(contender.served_from, workload))
            cost = f"{1 - 1 / gain:.1%}" if gain else ""
            yield contender.label, workload, *(_spread(rate) for rate in rates), engine, cost


def _gains(results: Results, ours: str) -> Iterable[Sequence[str]]:
    for contender in _measured(results):
        if contender.ours or (ours == _FP32 and contender.precision != "fp32"):
            continue
        gains = [results.gain(workload.name, ours, contender.name) for workload in _workloads(results)]
        if any(gains):
            yield contender.label, *(f"{gain:.2f}" if gain else "" for gain in gains)


def _ceilings(results: Results) -> Iterable[Sequence[str]]:
    for measured in sorted({name for ceiling in results.ceilings for name in ceiling}):
        taken = [ceiling[measured] for ceiling in results.ceilings if measured in ceiling]
        rates = [rate for rate in taken if not isinstance(rate, str)]
        precision, _, library = measured.partition(" ")
        yield precision, library, _spread(Spread.of(rates)) if rates else _cell(str(taken[0]))


def _shares(results: Results) -> Iterable[Sequence[str]]:
    for contender in _measured(results):
        ceiling = results.ceiling(contender.precision)
        if ceiling is None:
            continue
        rates = [results.tokens_per_s(contender.name, workload) for workload in ("512", "mixed")]
        if any(rates):
            shares = [f"{rate.median / ceiling[1]:.0%}" if rate else "" for rate in rates]
            yield contender.label, contender.precision, *shares


def _arrivals(results: Results) -> Iterable[Sequence[str]]:
    for found in results.arrivals:
        times = [f"{percentile_ms(found.latencies, percent):,.0f} ms" for percent in (50, 90, 99)]
        yield _label(found.contender), found.workload, f"{found.share:.0%}", f"{found.rate:.1f}", *times


def _contenders(results: Results) -> Iterable[Sequence[str]]:
    for contender in CONTENDERS:
        if contender.name not in results.versions:
            continue
        cosine = results.cosines.get(contender.name)
        told = "" if cosine is None else f"{cosine:.5f}" + (" (!)" if cosine < contender.floor else "")
        widths = results.widths.get(contender.name, {})
        memory = results.peak_memory(contender.name)
        yield (
            contender.label,
            told,
            ", ".join(str(widths[name]) for name in ("short", "mixed") if name in widths),
            f"{memory / 2**30:.1f} GiB" if memory else "",
            f"{results.load_s[contender.name]:.1f} s",
            _cell(", ".join(f"{name} {number}" for name, number in results.versions[contender.name].items())),
        )


def _section(title: str, head: str, rows: Iterable[Sequence[str]]) -> list[str]:
    lines = list(rows)
    if not lines:
        return []
    cells = [cell.strip() for cell in head.split("|")]
    table = "".join(f"| {' | '.join(line)} |\n" for line in [cells, ["---"] * len(cells), *lines])
    return [f"\n## {title}\n" if title else "", table]


def _measured(results: Results) -> list[Contender]:
    names = {sample.contender for sample in results.samples}
    return [contender for contender in CONTENDERS if contender.name in names]


def _spread(spread: Spread | None, *, digits: int = 0) -> str:
    if spread is None:
        return ""
    middle = f"{spread.median:,.{digits}f}"
    return middle if spread.count == 1 else f"{middle} ({spread.smallest:,.{digits}f} to {spread.largest:,.{digits}f})"


def _label(name: str) -> str:
    return next(contender.label for contender in CONTENDERS if contender.name == name)


def _cell(text: str) -> str:
    """Return text in a form that can stand in a table."""
    return " ".join(text.replace("|", "\\|").split())[:300]
