"""Ctrl-C while the command starts: it ends at once, without a traceback, wherever the signal finds it."""

import os
import signal
import subprocess
import sys

import pytest

# Runs the command as its script does, and sends the process SIGINT when it looks for its N-th module; without N, prints
# how many it looked for.
STARTED = """
import os, signal, sys
class Finder:
    looked_for = 0
    def find_spec(self, name, path=None, target=None):
        Finder.looked_for += 1
        if Finder.looked_for == {nth}:
            os.kill(os.getpid(), signal.SIGINT)
from qwen3_client.cli.main import main
sys.meta_path.insert(0, Finder())
status = main({arguments!r})
print(Finder.looked_for)
sys.exit(status)
"""
EMBED = ["embed", "a text", "--url", "127.0.0.1:1"]


def start(arguments: list[str], *, nth: int) -> "subprocess.CompletedProcess[str]":
    source = STARTED.format(nth=nth, arguments=arguments)
    return subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=120, check=False, env={**os.environ}
    )


@pytest.mark.parametrize("arguments", [EMBED, ["export", "/nowhere/at/all"]], ids=lambda arguments: arguments[0])
def test_ctrl_c_while_modules_are_loaded(arguments: list[str]) -> None:
    whole = start(arguments, nth=0)
    assert whole.returncode == 1, whole.stderr  # there is no server, and no checkpoint
    modules = int(whole.stdout)
    assert modules > 100, "the command is loaded within `main`"
    for nth in [1, 2, 3, *range(4, modules + 1, modules // 12)]:
        done = start(arguments, nth=nth)
        if done.returncode == -signal.SIGINT:
            assert done.stderr == "", nth
        else:
            assert (done.returncode, done.stderr) == (130, f"qwen3-triton {arguments[0]}: interrupted\n"), nth


def test_an_ignored_ctrl_c_stays_ignored() -> None:
    source = STARTED.format(nth=1, arguments=["--version"])
    done = subprocess.run(
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-c", source],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("qwen3-triton ")


@pytest.mark.parametrize("module", ["numpy", "asyncio", "grpc", "typing", "argparse"])
def test_what_the_command_needs_before_ctrl_c_is_its_own_is_little(module: str) -> None:
    check = f"import qwen3_client.cli.main, sys; sys.exit({module!r} in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {check}"], check=False
        ).returncode
        == 0
    )
