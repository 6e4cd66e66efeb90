"""Checks and measures CUDA exports on a GPU, in sections, within the time of one command.

    pip install "qwen3-triton[export,serve-gpu,gateway,verify]"
    python -m bench.gpu build/gpu                    # ten minutes on an H100
    python -m bench.gpu build/gpu --rehearse         # tiny models, on whatever there is: a CPU is enough

The sections, in order of worth, are in `SECTIONS`. Each is a process of its own with a deadline, and writes every
result to `build/gpu/SECTION.jsonl` as soon as it has it, so that one that fails, hangs or is stopped takes nothing
else with it. The page `build/gpu/gpu.md` is written again after each. Weights are random, of the published shapes,
because speed does not depend on their values.

Besides these packages nothing is needed: no network, no plots. Arms whose library is missing, such as flash-attn, are
left out, and the page says so. It has not been run on a GPU yet.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.gpu.report import append, read_records, write_page

_RAN, _FAILED, _STOPPED, _LEFT_OUT = "ran", "failed", "stopped at its deadline", "left out, for lack of time"


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the measurements.

    Attributes:
        name: Its name, the first argument of `sections.py`.
        deadline_s: Seconds after which it is stopped. It may also use what the sections before it have left over.
    """

    name: str
    deadline_s: int


SECTIONS = (  # 570 seconds in all
    Section("correct", 100),  # session, agreement with transformers, admission, reranker, batch invariance
    Section("throughput", 80),  # 0.6B, equal, mixed and skewed batches of 512 to 65,536 tokens
    Section("query", 35),  # one query, p50 and p99
    Section("pairs", 40),  # a reranker with and without the prefix cache
    Section("profile", 35),  # which kernels the time goes to, and what the model predicts
    Section("serving", 75),  # Triton with the embedded host, and the gateway
    Section("4B", 80),
    Section("8B", 125),
)


def main(arguments: Sequence[str]) -> int:
    """Run the sections; return 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where results, checkpoints and exports go")
    names = [section.name for section in SECTIONS]
    parser.add_argument("--sections", nargs="+", choices=names, default=names, help="which to run (all)")
    parser.add_argument("--seconds", type=float, default=570, help="for all of them (%(default)s)")
    parser.add_argument("--rehearse", action="store_true", help="tiny models and short batches, on a GPU or a CPU")
    args = parser.parse_args(arguments)
    args.folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic()  # of the section that runs
    end = deadline + args.seconds
    states = {}
    for section in SECTIONS:
        if section.name not in args.sections:
            continue
        started = time.monotonic()
        deadline += section.deadline_s
        seconds = min(deadline, end) - started
        state = run_section(section.name, args.folder, seconds=seconds, rehearse=args.rehearse)
        states[section.name] = state
        record = {"kind": "section", "section": section.name, "state": state, "seconds": time.monotonic() - started}
        append(args.folder / f"{section.name}.jsonl", record)
        write_page(read_records(args.folder, names), args.folder / "gpu.md")
        print(f"{section.name}: {state} after {record['seconds']:.0f} s", flush=True)
    print(f"wrote {args.folder / 'gpu.md'}")
    return int(any(state == _FAILED for state in states.values()))


def run_section(name: str, folder: Path, *, seconds: float, rehearse: bool) -> str:
    """Run one section in a process of its own; return what became of it.

    Args:
        name: The section.
        folder: Where its results go; those of an earlier run are removed.
        seconds: Its deadline. Nothing is started if it is over.
        rehearse: Whether to use tiny models.
    """
    (folder / f"{name}.jsonl").unlink(missing_ok=True)
    if seconds < 5:
        return _LEFT_OUT
    command = [sys.executable, "-m", "bench.gpu.sections", name, str(folder)]
    command += ["--rehearse"] if rehearse else []
    # In a session of its own, so that what it starts, such as Triton, is stopped with it.
    process = subprocess.Popen(command, start_new_session=True)
    try:
        return _RAN if process.wait(seconds) == 0 else _FAILED
    except subprocess.TimeoutExpired:
        return _STOPPED
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
