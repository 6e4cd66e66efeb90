"""A verdict in plain text: an aligned table, and one line that says pass or fail and what that rests on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ..kind import Kind
from .comparison import MEASURES, Comparison
from .files import FileReport
from .verification import Verdict

_MOST_FAULTS = 20  # shown of one model


def table(comparisons: Sequence[Comparison], *, kind: Kind) -> str:
    """One line a text, faulty ones marked."""
    lines = [("text", "tokens", *MEASURES[kind], "in batch", "")]
    for c in comparisons:
        first = f"{c.measures[0]:.7f}" if kind == "embedding" else _small(c.measures[0])
        in_batch = "same bits" if c.in_batch == 0 else _small(c.in_batch)
        lines.append((c.name, f"{c.tokens:,}", first, _small(c.measures[1]), in_batch, "FAIL" if c.faults else ""))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def verdict_lines(verdict: Verdict) -> str:
    """The notes, the faults, and the verdict."""
    lines = [f"  note: {note}" for note in verdict.notes]
    lines += _faults(verdict.faults)
    lines.append(f"{verdict.model.name}: {'PASS' if verdict.passed else 'FAIL'}, {_ground(verdict)}")
    return "\n".join(lines)


def file_lines(name: str, report: FileReport) -> str:
    """The faults and the verdict of a check of files."""
    state = "PASS" if report.passed else "FAIL"
    about = f"{report.files} files, {_in_words(report.bytes)}, against their sha256 in manifest.json"
    return "\n".join([*_faults(report.faults), f"{name}: {state}, {about}"])


def _ground(verdict: Verdict) -> str:
    if not verdict.comparisons:
        return f"{len(verdict.files.faults)} of its files are not as exported; nothing else was compared"
    failed = sum(bool(c.faults) for c in verdict.comparisons)
    first = [c.measures[0] for c in verdict.comparisons]
    second = [c.measures[1] for c in verdict.comparisons]
    if verdict.model.kind == "embedding":
        worst = f"smallest cosine {_worst(first, min):.7f}, largest difference {_small(_worst(second, max))}"
    else:
        worst = f"largest difference of logits {_small(_worst(first, max))}, of scores {_small(_worst(second, max))}"
    same = sum(c.in_batch == 0 for c in verdict.comparisons)
    texts = len(verdict.comparisons)
    parts = [
        f"{texts - failed} of {texts} texts within bounds",
        worst,
        f"{same} of {texts} the same bits in {verdict.batches} mixed batches ({verdict.shared} texts shared one)",
    ]
    if verdict.card is not None:
        card = verdict.card
        parts.append(
            f"{card.numbers} {card.what} of the model card within {_small(card.worst)} ({card.bound:g} allowed)"
        )
    parts.append(f"{verdict.files.files} files as exported")
    return "; ".join(parts)


def _faults(faults: Sequence[str]) -> list[str]:
    lines = [f"  {fault}" for fault in faults[:_MOST_FAULTS]]
    if len(faults) > _MOST_FAULTS:
        lines.append(f"  ... and {len(faults) - _MOST_FAULTS} more")
    return lines


def _worst(values: Sequence[float], choose: Callable[[Sequence[float]], float]) -> float:
    return math.nan if any(math.isnan(value) for value in values) else choose(values)


def _in_words(size: int) -> str:
    """A number of bytes as people read it: `0.9 MB`, `41 MB`, `2.4 GB`."""
    number, unit = (size / 1e9, "GB") if size >= 1e9 else (size / 1e6, "MB")
    return f"{number:.1f} {unit}" if number < 10 else f"{number:,.0f} {unit}"


def _small(value: float) -> str:
    return "0" if value == 0 else f"{value:.1e}"
