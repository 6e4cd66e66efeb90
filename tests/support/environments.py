"""Python environments of their own, made as users make theirs: with venv and pip."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

_HIDDEN = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_CONSTRAINT", "PIP_REQUIRE_VIRTUALENV"}


def make_environment(path: Path, *requirements: str, python: str = sys.executable) -> Path:
    """Make a fresh environment and install into it.

    Args:
        path: Its folder; one that is there is replaced.
        requirements: What one `pip install` gets: requirements, and pip's options such as ``-e`` and ``-c``.
        python: The interpreter to make it with.

    Returns:
        The environment's own interpreter.

    Raises:
        RuntimeError: It cannot be made, or pip finds no versions that fit; the message ends as pip's output does.
    """
    shutil.rmtree(path, ignore_errors=True)
    own = path / "bin" / "python"
    _run(python, "-m", "venv", str(path))
    if requirements:
        pip_install(own, *requirements)
    return own


def pip_install(python: Path, *arguments: str) -> None:
    """Run one `pip install` more in an environment; arguments and errors as with `make_environment`."""
    _run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments)


def clean_environment() -> dict[str, str]:
    """The environment variables of a process that must see its own environment's packages and no others."""
    return {name: value for name, value in os.environ.items() if name not in _HIDDEN}


def find_python(version: str) -> str | None:
    """Find an interpreter, on PATH or among pyenv's.

    Args:
        version: Such as ``3.12``.

    Returns:
        Its path; None if there is none that starts.
    """
    command = [f"python{version}", "-c", "import sys; print(sys.executable)"]
    environment = {**clean_environment(), "PYENV_VERSION": version}  # a pyenv shim runs nothing without
    try:
        found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


def _run(*command: str) -> None:
    done = subprocess.run(
        command, env=clean_environment(), capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=3600
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-4000:]}")
