"""Time and memory of one long text, from 1,024 tokens up, on an exported model.

    python bench/long_texts.py model_repository/qwen3_embedding 8192

One process a length, ONNX Runtime only, the whole text in one call. The last argument is the longest length; 32,768
takes the better part of an hour on two cores.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort


def main(directory: Path, longest: int) -> None:
    """Measure 1,024 tokens, twice as many, and so on."""
    print(f"{'tokens':>8} {'seconds':>9} {'peak anonymous memory':>23}")
    tokens = 1024
    while tokens <= longest:
        command = [sys.executable, __file__, "--one", str(directory), str(tokens)]
        seconds, peak = map(float, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
        print(f"{tokens:8,} {seconds:9.1f} {peak:19.2f} GiB", flush=True)
        tokens *= 2


def one(directory: Path, tokens: int) -> None:
    """Embed one text of random ids; print seconds and peak GiB of anonymous memory, weights included."""
    options = ort.SessionOptions()
    options.enable_mem_pattern = False  # as the embedded host
    model = ort.InferenceSession(str(directory / "1" / "model.onnx"), options, providers=["CPUExecutionProvider"])
    ids = np.random.default_rng(0).integers(0, 250, tokens)
    peak, ended = 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.01):
            peak = max(peak, anonymous_gib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    model.run(None, {"input_ids": ids, "lengths": np.array([[tokens]], np.int32)})
    seconds = time.perf_counter() - started
    ended.set()
    watcher.join()
    print(seconds, peak)


def anonymous_gib() -> float:
    """Anonymous memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 2**20
    raise RuntimeError("this needs Linux: /proc/self/status has no RssAnon")


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        one(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main(Path(sys.argv[1]), int(sys.argv[2]))
