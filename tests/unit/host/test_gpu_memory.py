"""What the host holds of the prefix cache's table between runs."""

import subprocess
import sys
from pathlib import Path


def test_the_last_table_is_released_when_the_next_one_is_there() -> None:
    command = [sys.executable, str(Path(__file__).with_name("run_tables.py"))]  # its memory is that of the engine alone
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    held, table = map(int, done.stdout.split())
    assert 0.8 * table < held < 1.5 * table
