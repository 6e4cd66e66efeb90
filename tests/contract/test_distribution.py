"""The distribution as it is built: where its version comes from."""

import subprocess
import sys
from pathlib import Path

import qwen3_client

ROOT = Path(__file__).parents[2]


def test_the_version_is_the_client_s() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "version"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"{qwen3_client.__version__}\n"), done.stderr
