"""Child processes are ended with their parent, and starting them forks nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from qwen3_serve.child_process import ending_with_parent


def test_a_child_ends_with_its_killed_parent() -> None:
    code = (
        "import os, signal, subprocess; from qwen3_serve.child_process import ending_with_parent\n"
        "subprocess.Popen(ending_with_parent(['sh', '-c', 'echo up; exec sleep 1000']), start_new_session=True)\n"
        "signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "up\n"
        parent.kill()
        assert parent.stdout.read() == "", "the end of the pipe, which the child held open"


def test_a_child_whose_parent_has_gone_does_not_start() -> None:
    command = ending_with_parent(["echo", "started"])
    parent = command.index(str(os.getpid()))
    command[parent] = "1"
    assert subprocess.run(command, check=True, capture_output=True).stdout == b""


def test_outside_the_main_thread_a_child_is_not_tied_to_it() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(ending_with_parent, ["program", "argument"]).result() == ["program", "argument"]


def test_no_handler_of_a_fork_runs_in_a_child() -> None:
    # gRPC's handlers crash a child that is forked while another thread makes a call.
    code = (
        "import os, subprocess; from qwen3_serve.child_process import ending_with_parent\n"
        "os.register_at_fork(before=lambda: print('before', flush=True), after_in_child=lambda: os.abort())\n"
        "print(subprocess.run(ending_with_parent(['true']), start_new_session=True).returncode)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "0\n"


def test_a_child_has_the_default_signals() -> None:
    found = [
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
        for command in (
            ending_with_parent(["grep", "SigIgn", "/proc/self/status"]),
            ["grep", "SigIgn", "/proc/self/status"],
        )
    ]
    assert found[0] == found[1]
