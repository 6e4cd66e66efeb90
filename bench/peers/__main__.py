"""Comparison of qwen3-triton with other ways of embedding with the same weights, on this machine's processor.

    make bench                                     # everything; writes this processor's kind of figures and the page
    make bench-quick                               # ours and the closest peers, one round; prints tables
    python -m bench.peers run --only qwen3-triton-int8,openvino-int8 --workloads short,mixed --rounds 1 --minutes 0
                                                   # a part; prints tables, and publishes nothing
    python -m bench.peers arrivals                 # texts at random times, for a run that was interrupted before them
    python -m bench.peers publish                  # publish build/bench/results.json, as after an interrupted run
    python -m bench.peers report                   # the page and its plots again, from docs/benchmarks/*.json

Figures are published by kind of processor: docs/benchmarks/avx2.json, amx.json and so on. A run replaces those of its
own kind; docs/benchmarks.md shows all kinds side by side. Rounds go on until the figures are steady or --minutes are
over. A sample during which others took more than 5% of the cores' time does not count, so run nothing else meanwhile.
Nor does one before or after which int8 products were slower than 90% of the fastest, as on virtual cores at times.

The weights are random, of the 0.6B shape, and the vocabulary is the genuine one. So speed and memory are as with the
published weights; what the vectors mean is not tested. Everything is kept in build/bench: the checkpoint, exports and
conversions, an environment for each peer, logs and results. The tables name what failed and why. After Ctrl-C, what was
measured is kept.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from qwen3_export.cpu import instruction_sets
from tokenizers import Tokenizer

from bench.peers.checkpoint import make_checkpoint, make_exports
from bench.peers.contenders import CONTENDERS, ENVIRONMENTS, QUICK, Folders
from bench.peers.plots import plot
from bench.peers.published import kind_of, load_all, publish, with_earlier_remarks
from bench.peers.report import page, write_document
from bench.peers.results import CORE_SPEED_RANGE, FOREIGN_LIMIT, Results
from bench.peers.rounds import Bench, Plan
from bench.peers.workloads import WORKLOADS, Writer

_ROOT = Path(__file__).parents[2]
_DOCUMENT = _ROOT / "docs" / "benchmarks.md"
_FIGURES = _ROOT / "docs" / "benchmarks"
_IMAGES = _ROOT / "docs" / "images"
_QUICK_WORKLOADS = ("query", "short", "mixed")


def main(arguments: Sequence[str]) -> int:
    """Run a command; returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.command == "report":
        _report()
        return 0
    work: Path = options.work
    completes = options.command in ("arrivals", "publish")
    whole = completes or (options.command == "run" and not options.only and not options.workloads)
    file = work / ("results.json" if whole else "partial.json")
    if completes:
        try:
            results = Results.load(file)
        except FileNotFoundError:
            print(f"{file} does not exist; make bench writes it", file=sys.stderr)
            return 1
        except (KeyError, TypeError) as error:
            print(f"{file} is of another version of this program ({error}); run make bench", file=sys.stderr)
            return 1
    else:
        quick = options.command == "quick"
        results = Results(
            kind=kind_of(instruction_sets()),
            machine=_machine(),
            load_average=os.getloadavg()[0],
            foreign_limit=1.0 if quick else FOREIGN_LIMIT,
            core_speed_range=math.inf if quick else CORE_SPEED_RANGE,
        )
        print(f"{results.kind}; load average {results.load_average:.2f}", flush=True)
    if options.command != "publish":
        try:
            _run(options, results, file)
        except KeyboardInterrupt:
            results.save(file)
            print(f"\ninterrupted; {file} holds what was measured", file=sys.stderr)
            return 130
    published = publish(results)
    if completes:
        published = with_earlier_remarks(published, _FIGURES)
    if not whole:
        print(page([published]))
    elif not published.ratios:
        print(
            f"{file} has no ratio that counts, so nothing is published; run it while nothing else runs", file=sys.stderr
        )
        return 1
    else:
        print(f"wrote {published.save(_FIGURES)}; all samples are in {file}")
        _report()
    return 0


def _report() -> None:
    """Write the page and its plots from the figures of all kinds."""
    kinds = load_all(_FIGURES)
    write_document(kinds, _DOCUMENT, plots={found.kind: plot(found, _IMAGES) for found in kinds})
    print(f"wrote {_DOCUMENT}, and plots to {_IMAGES}")


def _run(options: argparse.Namespace, results: Results, file: Path) -> None:
    quick = options.command == "quick"
    only = QUICK if quick else _named(options.only, [c.name for c in CONTENDERS])
    workloads = _QUICK_WORKLOADS if quick else _named(options.workloads, [w.name for w in WORKLOADS])
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    folders = Folders(work)
    make_checkpoint(folders.checkpoint)
    make_exports(folders.checkpoint, work / "exports")
    plan = Plan(
        [contender for contender in CONTENDERS if contender.name in only],
        [workload for workload in WORKLOADS if workload.name in workloads],
        rounds=options.rounds,
        limit_s=60 * options.minutes,
        threads=options.threads,
        arrivals_s=options.arrivals_s,
    )
    writer = Writer(Tokenizer.from_file(str(folders.checkpoint / "tokenizer.json")))
    bench = Bench(plan, folders=folders, environments=ENVIRONMENTS, writer=writer, results=results, file=file)
    if options.command == "arrivals":
        bench.run_arrivals()
    else:
        bench.run(CONTENDERS)


def _parser() -> argparse.ArgumentParser:
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(rounds=1, minutes=0, only="", workloads="", arrivals_s=0)  # for commands without these options
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measure; the whole is published")
    run.add_argument("--rounds", type=int, default=3, help="the smallest number of rounds (%(default)s)")
    run.add_argument(
        "--minutes",
        type=float,
        default=120,
        help="further rounds begin only if they are likely to end within this time (%(default)s)",
    )
    run.add_argument("--only", default="", help="contenders, separated by commas (default: all)")
    run.add_argument("--workloads", default="", help="workloads, separated by commas (default: all)")
    quick = commands.add_parser("quick", help="measure ours and the closest peers once, and print the tables")
    arrivals = commands.add_parser("arrivals", help="add the test with random arrivals to the last results")
    publish_last = commands.add_parser(
        "publish", help="publish the last results, whether or not the run was interrupted"
    )
    commands.add_parser("report", help="make the page and its plots again from the published figures")
    for command in (run, arrivals):
        command.add_argument(
            "--arrivals-s", type=float, default=20, help="seconds at each rate of random arrivals; 0 to leave it out"
        )
    for command in (run, quick, arrivals):
        command.add_argument("--threads", type=int, default=cores, help="threads of every contender")
    for command in (run, quick, arrivals, publish_last):
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
