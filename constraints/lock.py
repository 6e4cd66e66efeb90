"""Renew the constraints beside this file: the newest versions that fit together, for every supported Python.

It only resolves versions and installs nothing. Run it with `make lock`; then run the tests, and commit what changed.
"""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
# `dev` has everything except exports for TensorRT, for which Optimum needs transformers 4.
EXTRAS = {"dev": ["dev"], "tensorrt": ["bulk", "serve", "tensorrt", "test"]}
# What the environments need besides the extras.
ADDED = {"dev": "", "tensorrt": "torch==2.13.0\nhatchling\neditables\n"}


def lock(name: str) -> None:
    """Resolve the versions of one file and write it."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--upgrade", "--universal"]
    command += ["--python-version", "3.10", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
    command += ["--custom-compile-command", "make lock", "--output-file", str(FOLDER / f"{name}.txt")]
    command += [argument for extra in EXTRAS[name] for argument in ("--extra", extra)]
    subprocess.run([*command, "pyproject.toml", "-"], cwd=FOLDER.parent, input=ADDED[name], text=True, check=True)
    print(f"constraints/{name}.txt is written")


if __name__ == "__main__":
    for each in EXTRAS:
        lock(each)
