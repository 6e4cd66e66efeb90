"""`python -m bench.gpu` in rehearsal: the sections that need no Triton, on a CPU, with tiny models."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def rehearse(folder: Path, *options: str, environment: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """Run it; return every result."""
    command = [sys.executable, "-m", "bench.gpu", str(folder), "--rehearse", *options]
    variables = {**os.environ, **(environment or {})}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "gpu.md").is_file()
    return [json.loads(line) for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines()]


def test_a_section_checks_and_compares(tmp_path: Path) -> None:
    records = rehearse(tmp_path, "--sections", "correct")
    checks = {record["what"]: record["passed"] for record in records if record["kind"] == "check"}
    assert len(checks) == 3
    assert all(checks.values()), checks
    agreements = {record["what"]: record for record in records if record["kind"] == "agreement"}
    assert len(agreements) == 3
    assert min(record["cosine"] for record in agreements.values()) > 0.99
    assert [record["state"] for record in records if record["kind"] == "section"] == ["ran"]


def test_pairs_are_measured_with_and_without_the_prefix_cache(tmp_path: Path) -> None:
    records = rehearse(tmp_path, "--sections", "pairs")
    checks = {record["what"]: record["passed"] for record in records if record["kind"] == "check"}
    assert len(checks) == 3
    assert all(checks.values()), checks
    timings = [(record["work"], record["arm"]) for record in records if record["kind"] == "timing"]
    assert len(set(timings)) == 6


def test_a_section_at_its_deadline_is_stopped_and_the_next_one_is_left_out(tmp_path: Path) -> None:
    """The section hangs, so that no machine is too fast for the test."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "torch.py").write_text("import time\n\ntime.sleep(1000)\n")
    options = ["--sections", "throughput", "query", "--seconds", "6"]
    records = rehearse(tmp_path, *options, environment={"PYTHONPATH": str(tmp_path / "modules")})
    states = {record["section"]: record["state"] for record in records if record["kind"] == "section"}
    assert states == {"throughput": "stopped at its deadline", "query": "left out, for lack of time"}
