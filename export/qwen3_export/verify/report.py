"""A verdict as plain text: a table of all texts, and one line that says pass or fail and why."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ..kind import Kind
from ..size import in_words
from .comparison import MEASURES, Comparison
from .files import FileReport
from .verification import Verdict

_MOST_FAULTS = 20  # lines shown for one model


def table(comparisons: Sequence[Comparison], *, kind: Kind) -> str:
    """Return a table with one line per text; texts with faults are marked."""
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
    """Return the notes, the faults and the verdict."""
    lines = [f"  note: {note}" for note in verdict.notes]
    lines += _faults(verdict.faults)
    lines.append(f"{verdict.model.name}: {'PASS' if verdict.passed else 'FAIL'}, {_reasons(verdict)}")
    return "\n".join(lines)


def file_lines(name: str, report: FileReport) -> str:
    """Return the faults and the verdict of a check of files."""
    state = "PASS" if report.passed else "FAIL"
    about = f"{report.files} files, {in_words(report.bytes)}, compared with their sha256 in manifest.json"
    return "\n".join([*_faults(report.faults), f"{name}: {state}, {about}"])


def _reasons(verdict: Verdict) -> str:
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
        f"{same} of {texts} texts have the same bits in {verdict.batches} mixed batches "
        f"({verdict.shared} texts shared a batch)",
    ]
    if verdict.card is not None:
        card = verdict.card
        parts.append(
            f"{card.numbers} {card.what} differ from the model card's by at most {_small(card.worst)} "
            f"({card.bound:g} allowed)"
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


def _small(value: float) -> str:
    return "0" if value == 0 else f"{value:.1e}"
