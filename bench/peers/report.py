"""What the comparison amounts to, as Markdown tables: all kinds of processors side by side, then each one's details.

Knows nothing about how anything was measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bench.peers.contenders import CONTENDERS
from bench.peers.published import FP32, INT8, Published
from bench.peers.results import Spread
from bench.peers.workloads import WORKLOADS, Workload

_BEGIN, _END = "<!-- written by make bench -->", "<!-- end of what make bench wrote -->"
_LABELS = {contender.name: contender.label for contender in CONTENDERS}
_FLOORS = {contender.name: contender.floor for contender in CONTENDERS}


def write_document(kinds: Sequence[Published], path: Path, *, plots: Mapping[str, Sequence[Path]]) -> None:
    """Write plots and tables between the two marks of the page; the text around them is hand-written.

    Args:
        kinds: The figures of all kinds.
        path: The page.
        plots: Images in a folder beside the page, by kind.

    Raises:
        ValueError: The page does not have the marks.
    """
    text = path.read_text("utf-8")
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{path} needs the lines {_BEGIN!r} and {_END!r}; tables are written between them")
    images = {
        kind: "".join(f"![{plot.stem}]({plot.relative_to(path.parent)})\n\n" for plot in files)
        for kind, files in plots.items()
    }
    path.write_text(f"{before}{_BEGIN}\n\n{page(kinds, images=images)}\n{_END}{after}", "utf-8")


def page(kinds: Sequence[Published], *, images: Mapping[str, str] | None = None) -> str:
    """Return all tables.

    Args:
        kinds: The figures of some kinds, each of which has its columns.
        images: Markdown that shows the plots, by kind.
    """
    names = [found.kind for found in kinds]
    parts = [
        *_section("## Machines", ["", *names], _machines(kinds)),
        *_section(
            "## int8 through Triton against the fastest peer, times as fast", ["", *names], _fastest(kinds, WORKLOADS)
        ),
    ]
    for workload in WORKLOADS:
        unit = "ms" if workload.alone else "tokens/s"
        head = [cell for name in names for cell in (f"{name}: {unit}", "int8 through Triton is, times as fast")]
        parts += _section(f"## {workload.name}: {workload.says}", ["", *head], _workload(kinds, workload.name))
    parts += _section("## fp32 through Triton, times as fast", ["", "peer", *names], _fp32(kinds))
    for found in kinds:
        parts += _details(found, (images or {}).get(found.kind, ""))
    return "\n".join(part for part in parts if part) + "\n"


def _machines(kinds: Sequence[Published]) -> Iterable[Sequence[str]]:
    facts = [found.machine | found.conditions for found in kinds]
    for name in dict.fromkeys(name for told in facts for name in told):
        yield name, *(_cell(told.get(name, "")) for told in facts)


def _fastest(kinds: Sequence[Published], workloads: Sequence[Workload]) -> Iterable[Sequence[str]]:
    for workload in workloads:
        cells = []
        for found in kinds:
            ratios = found.ratios.get(f"{INT8}/{workload.name}", {})
            peer = min(ratios, key=lambda name: ratios[name].median, default=None)
            cells.append(f"{_spread(ratios[peer], digits=2)}, {_label(peer)}" if peer else "")
        if any(cells):
            yield workload.name, *cells


def _workload(kinds: Sequence[Published], workload: str) -> Iterable[Sequence[str]]:
    for contender in _ordered(name for found in kinds for name in found.figures.get(workload, {})):
        cells = []
        for found in kinds:
            figure = found.figures.get(workload, {}).get(contender)
            ratio = found.ratios.get(f"{INT8}/{workload}", {}).get(contender)
            cells += [_spread(figure), _spread(ratio, digits=2)]
        yield _label(contender), *cells


def _fp32(kinds: Sequence[Published]) -> Iterable[Sequence[str]]:
    for workload in WORKLOADS:
        rows = [found.ratios.get(f"{FP32}/{workload.name}", {}) for found in kinds]
        for peer in _ordered(name for row in rows for name in row):
            yield workload.name, _label(peer), *(_spread(row.get(peer), digits=2) for row in rows)


def _details(found: Published, images: str) -> list[str]:
    """Return what is said of one kind alone."""
    clients = list(dict.fromkeys(width for row in found.clients.values() for width in row))
    heads = [f"{width} {'client' if width == '1' else 'clients'}" for width in clients]
    parts = [
        *_section(
            "### Clients, tokens/s", ["", "texts", *heads, "in process", "Triton and clients cost"], _clients(found)
        ),
        *_section("### Ceilings", ["products", "by", "tokens/s"], _ceilings(found)),
        *_section("", ["share of its ceiling", "512", "mixed"], _shares(found)),
        *_section("### Texts at random times", ["", "texts", "load", "texts/s", "p50", "p90", "p99"], _loads(found)),
        *_section(
            "### Contenders",
            ["", "cosine", "batch: short, mixed", "memory", "loaded in", "versions"],
            _contenders(found),
        ),
        *_section("### Not run", ["what", "why"], [(_what(name), _cell(why)) for name, why in found.not_run.items()]),
    ]
    remarks = "".join(f"{remark}\n\n" for remark in found.remarks)
    return [f"## Details of {found.kind}\n\n{remarks}{images}".rstrip() + "\n", *parts]


def _clients(found: Published) -> Iterable[Sequence[str]]:
    for key, row in found.clients.items():
        name, _, workload = key.partition("/")
        engine = next((contender.served_from for contender in CONTENDERS if contender.name == name), None)
        in_process = found.figures.get(workload, {}).get(engine or "")
        cost = found.costs.get(name, {}).get(workload)
        yield (_label(name), workload, *(_spread(rate) for rate in row.values()), _spread(in_process), _percent(cost))


def _ceilings(found: Published) -> Iterable[Sequence[str]]:
    for name, rate in found.ceilings.items():
        precision, _, library = name.partition(" ")
        yield precision, library, _cell(rate) if isinstance(rate, str) else _spread(rate)


def _shares(found: Published) -> Iterable[Sequence[str]]:
    for name, row in found.shares.items():
        yield _label(name), *(_percent(row.get(workload)) for workload in ("512", "mixed"))


def _loads(found: Published) -> Iterable[Sequence[str]]:
    for load in found.loads:
        times = [f"{value:,.0f} ms" for value in load.percentiles_ms.values()]
        yield _label(load.contender), load.workload, f"{load.share:.0%}", f"{load.rate:.1f}", *times


def _contenders(found: Published) -> Iterable[Sequence[str]]:
    for name in _ordered(found.contenders):
        told = found.contenders[name]
        doubt = " (!)" if told.cosine is not None and told.cosine < _FLOORS.get(name, 0.0) else ""
        yield (
            _label(name),
            "" if told.cosine is None else f"{told.cosine:.5f}{doubt}",
            ", ".join(str(told.widths[workload]) for workload in ("short", "mixed") if workload in told.widths),
            "" if told.peak_memory_gib is None else f"{told.peak_memory_gib:.1f} GiB",
            f"{told.load_s:.1f} s",
            _cell(", ".join(f"{library} {number}" for library, number in told.versions.items())),
        )


def _section(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = list(rows)
    if not lines:
        return []
    table = "".join(f"| {' | '.join(line)} |\n" for line in [head, ["---"] * len(head), *lines])
    return [f"{title}\n" if title else "", table]


def _spread(spread: Spread | None, *, digits: int = 0) -> str:
    """Return the median with the smallest and the largest, or the one figure that there is."""
    if spread is None:
        return ""
    middle = f"{spread.median:,.{digits}f}"
    if spread.count == 1:
        return f"{middle} (one round)"
    return f"{middle} ({spread.smallest:,.{digits}f} to {spread.largest:,.{digits}f})"


def _percent(spread: Spread | None) -> str:
    if spread is None:
        return ""
    if spread.count == 1:
        return f"{spread.median:.0%} (one round)"
    return f"{spread.median:.0%} ({spread.smallest:.0%} to {spread.largest:.0%})"


def _ordered(names: Iterable[str]) -> list[str]:
    """Return names without repetitions, those of today's contenders first, in their order."""
    found = dict.fromkeys(names)
    return [*(name for name in _LABELS if name in found), *(name for name in found if name not in _LABELS)]


def _label(name: str) -> str:
    return _LABELS.get(name, name)


def _what(name: str) -> str:
    return _LABELS.get(name, f"`{name}`")


def _cell(text: str) -> str:
    """Return text in a form that can stand in a table."""
    return " ".join(text.replace("|", "\\|").split())[:300]
