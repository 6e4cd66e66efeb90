"""Write docs/measurements.md from build/measurements.json, in which `make test-full` keeps its figures.

`make measurements` does both.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MEASURED = ROOT / "build" / "measurements.json"
DOCUMENT = ROOT / "docs" / "measurements.md"

_PAGE = """# Measurements

Written by `make measurements`: a random bfloat16 checkpoint of the Qwen3-Embedding-0.6B shape with the genuine
vocabulary is exported, served by Triton, and compared with transformers in float32. The machine is shared, so ratios
mean more than seconds.

Machine: {machine}.
Versions: {versions}.

| what | measured | must be |
|---|---|---|
{rows}
"""


def page(measured: Mapping[str, Any]) -> str:
    """Return the document.

    Args:
        measured: `machine`, its description; `versions` by library; `rows`, each with what was measured, the figure,
            and its bound.
    """
    versions = ", ".join(f"{library} {version}" for library, version in measured["versions"].items())
    rows = "\n".join(f"| {what} | {figure} | {bound} |" for what, figure, bound in measured["rows"])
    return _PAGE.format(machine=measured["machine"], versions=versions, rows=rows)


def main() -> int:
    """Write the page; returns 0, or 1 if nothing was measured yet."""
    if not MEASURED.is_file():
        print(f"there is no {MEASURED.relative_to(ROOT)}: run `make test-full` first, or both: `make measurements`")
        return 1
    DOCUMENT.write_text(page(json.loads(MEASURED.read_text("utf-8"))), "utf-8")
    print(f"{DOCUMENT.relative_to(ROOT)} is written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
