"""What the containers are made of, used outside a container: their scripts, their Dockerfiles."""

import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"


@dataclass(frozen=True)
class Served:
    """The process that `serve.sh` became, and its ports by name."""

    process: subprocess.Popen[bytes]
    ports: dict[str, int]


def is_ready(port: int, path: str) -> bool:
    """What `ready.sh` says."""
    done = subprocess.run([DOCKER / "ready.sh", str(port), path], stderr=subprocess.DEVNULL, timeout=30, check=False)
    return done.returncode == 0


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile, its lines joined."""

    name: str
    value: str

    @property
    def arguments(self) -> list[str]:
        """The words after the name that are no options."""
        return [word for word in shlex.split(self.value) if not word.startswith("--")]

    def option(self, name: str) -> str | None:
        """The value of `--name=VALUE`."""
        found = [word for word in shlex.split(self.value) if word.startswith(f"--{name}=")]
        return found[0].partition("=")[2] if found else None


def instructions(name: str) -> list[Instruction]:
    """All instructions of a Dockerfile in `docker/`, in order."""
    lines = [line for line in (DOCKER / name).read_text().splitlines() if line and not line.startswith("#")]
    logical = re.sub(r"\\\n", " ", "\n".join(lines)).splitlines()
    return [Instruction(*line.split(maxsplit=1)) for line in logical]


def final_stage(name: str) -> list[Instruction]:
    """The instructions that the image itself comes from."""
    found = instructions(name)
    start = max(index for index, instruction in enumerate(found) if instruction.name == "FROM")
    return found[start:]
