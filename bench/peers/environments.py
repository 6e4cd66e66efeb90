"""Virtual environments for the peers, one for each, so that none restricts the versions of another."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from bench.peers.contenders import Environment


class EnvironmentFailedError(Exception):
    """A peer cannot be installed here; the message has pip's error."""


def python_of(environment: Environment, work: Path) -> Path:
    """Return the interpreter of an environment, which is created if it is missing or has other versions.

    Raises:
        EnvironmentFailedError: pip failed. The next run tries again.
    """
    folder = work / f"env-{environment.name}"
    python, stamp, log = folder / "bin" / "python", folder / "installed.txt", work / f"env-{environment.name}.log"
    wanted = "\n".join(environment.packages)
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"creating the environment of {environment.name}; pip's output goes to {log}", flush=True)
    if not python.exists():
        shutil.rmtree(folder, ignore_errors=True)
        made = subprocess.run([sys.executable, "-m", "venv", str(folder)], check=False)
        if made.returncode:
            raise EnvironmentFailedError("python -m venv failed; on Debian, install python3-venv")
    with log.open("w") as output:
        commands = [["install", *environment.packages]]
        if environment.removed:
            commands.append(["uninstall", "--yes", *environment.removed])
        variables = os.environ | environment.settings
        code = 0
        for command in commands:
            pip = [str(python), "-m", "pip", "--disable-pip-version-check", *command]
            done = subprocess.run(pip, stdout=output, stderr=subprocess.STDOUT, env=variables, check=False)
            code = code or done.returncode
    if code != 0:
        said = [line for line in log.read_text().splitlines() if line.startswith("ERROR")]
        raise EnvironmentFailedError(f"pip failed: {(said or ['see ' + str(log)])[-1]}")
    stamp.write_text(wanted)
    return python
