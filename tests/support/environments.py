"""Virtual environments that tests build for themselves, with pip."""

import subprocess
import sys
from pathlib import Path


def make_environment(path: Path, *requirements: str, python: str = sys.executable) -> Path:
    """Make an environment and install requirements into it; returns its interpreter."""
    subprocess.run([python, "-m", "venv", str(path)], check=True, timeout=120)
    binary = path / "bin" / "python"
    pip_install(binary, *requirements)
    return binary


def pip_install(python: Path, *arguments: str) -> None:
    """Run one `pip install`; fails with what pip said."""
    if not arguments:
        return
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
