"""Comparison of qwen3-triton with other ways of embedding with the same weights, on this machine's processor.

    make bench                                     # everything, three rounds; writes docs/benchmarks.md
    make bench-quick                               # ours and the closest peers, one round; prints tables
    python bench/peers.py run --only qwen3-triton-int8,openvino-int8 --workloads short,mixed --rounds 1
                                                   # a part; prints tables, and does not change the page or its figures
    python bench/peers.py report                   # tables and plots again, from build/bench/results.json

The weights are random, of the 0.6B shape, and the vocabulary is the genuine one. So speed and memory are as with the
published weights; what the vectors mean is not tested. Everything is kept in build/bench: the checkpoint, exports and
conversions, an environment for each peer, logs and results. The tables name what failed and why. After Ctrl-C, what was
measured is kept.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from peers_checkpoint import make_checkpoint, make_exports
from peers_contenders import CONTENDERS, ENVIRONMENTS, QUICK, Folders
from peers_plots import plot
from peers_report import page, write_document
from peers_results import Results
from peers_rounds import Bench, Plan
from peers_workloads import WORKLOADS, Writer
from tokenizers import Tokenizer

_ROOT = Path(__file__).parents[1]
_DOCUMENT = _ROOT / "docs" / "benchmarks.md"
_IMAGES = _ROOT / "docs" / "images"
_QUICK_WORKLOADS = ("query", "short", "mixed")


def main(arguments: Sequence[str]) -> int:
    """Run a command; returns the exit code."""
    options = _parser().parse_args(arguments)
    work: Path = options.work
    whole = options.command != "quick" and not getattr(options, "only", "") and not getattr(options, "workloads", "")
    file = work / ("results.json" if whole else "partial.json")
    if options.command == "report":
        if not file.exists():
            print(f"{file} does not exist; make bench writes it", file=sys.stderr)
            return 1
        results = Results.load(file)
    else:
        results = Results(machine=_machine())
        try:
            _run(options, results, file)
        except KeyboardInterrupt:
            results.save(file)
            print(f"\ninterrupted; {file} holds what was measured", file=sys.stderr)
            return 130
    if whole:
        write_document(results, _DOCUMENT, plots=plot(results, _IMAGES))
        print(f"wrote {_DOCUMENT}, and plots to {_IMAGES}; the figures are in {file}")
    else:
        print(page(results))
    return 0


def _run(options: argparse.Namespace, results: Results, file: Path) -> None:
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    folders = Folders(work)
    make_checkpoint(folders.checkpoint)
    make_exports(folders.checkpoint, work / "exports")
    quick = options.command == "quick"
    only = QUICK if quick else _named(options.only, [c.name for c in CONTENDERS])
    workloads = _QUICK_WORKLOADS if quick else _named(options.workloads, [w.name for w in WORKLOADS])
    plan = Plan(
        [contender for contender in CONTENDERS if contender.name in only],
        [workload for workload in WORKLOADS if workload.name in workloads],
        rounds=1 if quick else options.rounds,
        threads=options.threads,
        arrivals_s=0 if quick else options.arrivals_s,
    )
    writer = Writer(Tokenizer.from_file(str(folders.checkpoint / "tokenizer.json")))
    bench = Bench(plan, folders=folders, environments=ENVIRONMENTS, writer=writer, results=results, file=file)
    bench.run(CONTENDERS)


def _parser() -> argparse.ArgumentParser:
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measure, and write the document")
    run.add_argument("--rounds", type=int, default=3, help="how often each contender takes its turn")
    run.add_argument("--only", default="", help="contenders, separated by commas (default: all)")
    run.add_argument("--workloads", default="", help="workloads, separated by commas (default: all)")
    run.add_argument(
        "--arrivals-s", type=float, default=20, help="seconds of the test at each rate of arrivals; 0 to leave it out"
    )
    quick = commands.add_parser("quick", help="measure ours and the closest peers once, and print the tables")
    report = commands.add_parser("report", help="make tables and plots from the last results")
    for command in (run, quick):
        command.add_argument("--threads", type=int, default=cores, help="threads of every contender")
    for command in (run, quick, report):
        command.add_argument("--work", type=Path, default=_ROOT / "build" / "bench", help="folder for all files")
    return parser


def _named(chosen: str, known: Sequence[str]) -> Sequence[str]:
    """Return the chosen names, or all if none is chosen."""
    names = [name for name in chosen.split(",") if name]
    if unknown := set(names) - set(known):
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(known)}")
    return names or known


def _machine() -> dict[str, str]:
    """Describe the machine."""
    processors = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    flags = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), "")
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # bytes
    return {
        "processor": processors[0].partition(":")[2].strip() if processors else platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "instructions": " ".join(flag for flag in wanted if flag in flags.split()),
        "memory": f"{memory / 2**30:.0f} GiB",
        "Python": platform.python_version(),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
