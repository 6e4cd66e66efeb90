"""Comparison of two exports of one checkpoint in ONNX Runtime: is the second one faster, and are its results the same?

    python bench/compare.py before/qwen3_embedding after/qwen3_embedding

For work on the graph. Each export runs in its own process, with the embedded host's settings. The two alternate, so
that other work on the machine affects both. Each packed batch has random texts of one length: a query, several queries,
several documents, one long document.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt

BATCHES = ([16], [20] * 16, [160] * 3, [512])  # tokens of each text
VOCABULARY = 150_000

Rows = npt.NDArray[np.float32]


class Side:
    """One of the two exports, in its own process."""

    def __init__(self, directory: Path) -> None:
        command = [sys.executable, __file__, "--side", str(directory)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ask([1])  # loads and warms up

    def ask(self, lengths: list[int]) -> tuple[float, Rows]:
        """Run one batch; returns the seconds that it took, and its rows."""
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        assert self._process.stdout is not None  # noqa: S101
        print(json.dumps(lengths), file=self._process.stdin, flush=True)
        seconds, rows = json.loads(self._process.stdout.readline())
        return seconds, np.array(rows, np.float32)

    def close(self) -> None:
        """Close the process's input, which ends it."""
        self._process.communicate(timeout=60)


def answer(directory: Path) -> None:
    """Run one side: read the lengths of a batch from each line, and write its seconds and rows as a line."""
    from qwen3_export.cpu import open_session

    session = open_session(directory / "1" / "model.onnx")
    for line in sys.stdin:
        lengths = json.loads(line)
        feed = {
            "input_ids": np.random.default_rng(0).integers(0, VOCABULARY, sum(lengths)),
            "lengths": np.array(lengths, np.int32)[:, None],
        }
        started = time.perf_counter()
        (rows,) = session.run(["embedding"], feed)
        print(json.dumps([time.perf_counter() - started, rows.tolist()]), flush=True)


def main(before: Path, after: Path, *, turns: int) -> None:
    """Print one row of the table per batch."""
    sides = [Side(before), Side(after)]
    print("| texts x tokens | before | after | before / after | smallest cosine | largest difference |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    for lengths in BATCHES:
        rows = [side.ask(lengths)[1] for side in sides]
        seconds = [[side.ask(lengths)[0] for side in sides] for _ in range(turns)]
        first, second = (median(column) for column in zip(*seconds, strict=True))
        print(
            f"| {len(lengths)} x {lengths[0]} | {1e3 * first:.0f} ms | {1e3 * second:.0f} ms | {first / second:.2f} "
            f"| {(rows[0] * rows[1]).sum(axis=1).min():.6f} | {np.abs(rows[0] - rows[1]).max():.1e} |",
            flush=True,
        )
    for side in sides:
        side.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directories", type=Path, nargs="+", metavar="EXPORT", help="two model directories")
    parser.add_argument("--turns", type=int, default=9, help="how often each export runs each batch (%(default)s)")
    parser.add_argument("--side", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        answer(options.directories[0])
    elif len(options.directories) != 2:
        parser.error("give two model directories")
    else:
        main(*options.directories, turns=options.turns)
