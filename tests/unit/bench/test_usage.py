"""The accounting of processor time: what a process's tree uses is its own, and what all others use is foreign."""

import os
import subprocess
import sys
from pathlib import Path

from bench.peers.workers.usage import Watch

ROOT = Path(__file__).parents[3]
BURN_S = 0.5
BURN = f"import time\nwhile time.process_time() < {BURN_S}: pass"
# It watches from the line "watching" until its standard input ends.
WATCHER = """
from bench.peers.workers.usage import Watch
watch = Watch()
print("watching", flush=True)
input()
print(watch.foreign())
"""


def test_time_of_children_that_have_ended_is_own_time() -> None:
    watch = Watch()
    subprocess.run([sys.executable, "-c", BURN], check=True)
    assert watch.own_s() >= 0.9 * BURN_S
    assert 0 <= watch.foreign() <= 1


def test_time_of_a_process_outside_the_tree_is_foreign() -> None:
    """The burner is not a child of the watcher, and runs on the one core that the watcher looks at."""
    core = {min(os.sched_getaffinity(0))}

    def on_that_core() -> None:
        os.sched_setaffinity(0, core)

    with subprocess.Popen(
        [sys.executable, "-c", WATCHER],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=on_that_core,
    ) as watcher:
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == "watching\n"
        subprocess.run([sys.executable, "-c", BURN], check=True, preexec_fn=on_that_core)
        told, _ = watcher.communicate("\n", timeout=60)
    assert float(told) > 0.5, "one process or another had that core nearly all the time"
