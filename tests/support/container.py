"""The container's scripts, run outside a container."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

DOCKER = Path(__file__).parents[2] / "docker"


@dataclass(frozen=True)
class Served:
    """The process that `serve.sh` became, and its ports by name."""

    process: subprocess.Popen[bytes]
    ports: dict[str, int]


def is_ready(port: int, path: str) -> bool:
    """What `ready.sh` says."""
    done = subprocess.run([DOCKER / "ready.sh", str(port), path], stderr=subprocess.DEVNULL, timeout=30, check=False)
    return done.returncode == 0
