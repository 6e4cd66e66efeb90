"""What users install: the client alone, everything at its newest and at its lowest, and every Python we support.

Each test makes an environment below build/environments, runs the project's tests in it, and adds a line to the table
that is printed at the end. A file of tests whose libraries an environment is meant to be without is left out, and the
table says which libraries those are; a library that is missing for another reason fails the test.

torch comes with CUDA's libraries from most indexes, gigabytes of them, so that no environment but `newest` and `lowest`
has it; both have the one release that the project's own tests have.
"""

import json
import re
import subprocess
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from support.environments import clean_environment, find_python, make_environment, pip_install

pytestmark = pytest.mark.environments

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "build" / "environments"
TORCH = "torch==2.13.0"
RUNNER = ("pytest", "pytest-timeout", "pytest-xdist", "hypothesis")
CONSTRAINTS = ROOT / "constraints" / "dev.txt"
SHOWN = [
    "numpy",
    "huggingface_hub",
    "tokenizers",
    "transformers",
    "sentence-transformers",
    "onnxruntime",
    "tritonclient",
]

CLIENT = "tests/unit/client"
# Each part of the project at work. What measures, and what depends on our own code alone, is left to `make test`.
PROJECT = (
    *(CLIENT, "tests/contract", "tests/unit/gateway", "tests/unit/verify"),
    *(f"tests/unit/export/test_{part}.py" for part in ("model_directory", "versions")),
    *(f"tests/integration/{topic}" for topic in ("adapters", "gateway", "verify")),
    *(f"tests/integration/export/test_{part}.py" for part in ("precisions", "reranker")),
    *(
        f"tests/integration/e2e/test_{part}.py"
        for part in ("client", "commands", "ragged_batches", "rerank", "robustness")
    ),
)
WITHOUT_TORCH = "bulk,export,gateway,langchain,llama-index,otel,serve,test"
NEEDS_TORCH = frozenset({"torch", "transformers", "sentence_transformers", "mteb", "datasets"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What is installed, and what is run there.

    Attributes:
        python: Version of the interpreter; None for the one that runs this.
        extras: Of the project, joined by commas.
        added: Requirements beside the project.
        constraints: ``locked``, ``newest``, or ``lowest``: which versions pip takes.
        tests: Folders and files to run.
        left_out: Folders and tests to leave out, by how their names begin, with the reason.
        without: Libraries that the environment is meant to lack.
    """

    python: str | None = None
    extras: str = ""
    added: tuple[str, ...] = ()
    constraints: str = "newest"
    tests: tuple[str, ...] = PROJECT
    left_out: dict[str, str] = field(default_factory=dict)
    without: frozenset[str] = frozenset()


def slim(constraints: str) -> Environment:
    return Environment(
        added=RUNNER,
        constraints=constraints,
        tests=(CLIENT,),
        left_out={
            f"{CLIENT}/test_public_surface.py::test_every_module_lists_what_it_exports[_bulk": "bulk needs pyarrow",
        },
        without=frozenset({"pyarrow", "dashscope"}),
    )


def other_python(version: str) -> Environment:
    has_haystack = version != "3.10"
    left_out = {
        "tests/integration/verify": "verify compares with torch",
        "tests/integration/e2e/test_client.py::test_vectors_match_transformers": "fidelity compares with torch",
        "tests/integration/e2e/test_rerank.py::test_logits_match_transformers": "fidelity compares with torch",
    }
    if not has_haystack:
        left_out["tests/integration/adapters/test_server.py::test_the_example_of_its_docstring_runs[haystack"] = (
            "no haystack"
        )
    return Environment(
        python=version,
        extras=f"{WITHOUT_TORCH},haystack" if has_haystack else WITHOUT_TORCH,
        constraints="locked",
        left_out=left_out,
        without=NEEDS_TORCH if has_haystack else NEEDS_TORCH | {"haystack"},
    )


ENVIRONMENTS = {
    "slim-newest": slim("newest"),
    "slim-lowest": slim("lowest"),
    "newest": Environment(extras="dev"),
    "lowest": Environment(extras="dev", constraints="lowest"),
    "python3.10": other_python("3.10"),
    "python3.12": other_python("3.12"),
    "python3.13": other_python("3.13"),
}

rows: list[tuple[str, str, str, str, str]] = [("environment", "Python", "versions", "tests", "left out, and why")]


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    yield
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print("\n")
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_environment(name: str) -> None:
    environment = ENVIRONMENTS[name]
    interpreter = find_python(environment.python) if environment.python else sys.executable
    if interpreter is None:
        reason = f"there is no python{environment.python} on PATH or among pyenv's"
        rows.append((name, environment.python or "", "", "not run", reason))
        pytest.skip(reason)

    print(f"\n{name}: installing", flush=True)
    python = install_environment(name, environment, interpreter)
    missing = files_without_their_library(python, environment)
    unexpected = {file: library for file, library in missing.items() if library not in environment.without}
    assert not unexpected, f"{name} lacks what these tests import"

    print(f"{name}: running the tests, {len(missing)} files left out", flush=True)
    counts, said = run_tests(python, environment, name=name, ignored=list(missing))
    reasons = sorted({f"no {library}" for library in missing.values()} | set(environment.left_out.values()))
    version, versions = versions_in(python)
    rows.append((name, version, versions, counts, f"{len(missing)} files: {', '.join(reasons)}" if reasons else ""))
    assert said is None, said


def install_environment(name: str, environment: Environment, interpreter: str) -> Path:
    """Make the environment; returns its interpreter."""
    project = f"{ROOT}[{environment.extras}]" if environment.extras else str(ROOT)
    wanted = [*environment.added, "-e", project]
    if environment.constraints == "locked":
        wanted += ["-c", str(CONSTRAINTS)]
    elif environment.constraints == "lowest":
        wanted += ["-c", str(lowest_bounds(name, environment))]
    python = make_environment(FOLDER / name, *wanted, python=interpreter)
    if "serve" in environment.extras and environment.python == "3.13":
        pip_install(python, "--no-deps", "nvidia-pytriton==0.7.0")  # it asks for a numpy that this Python does not have
    return python


def lowest_bounds(name: str, environment: Environment) -> Path:
    """A file of constraints: what pyproject.toml asks for at its lowest, what that needs at its newest."""
    path = FOLDER / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--resolution", "lowest-direct"]
    command += ["--no-header", "--no-annotate", "--python", sys.executable, "--output-file", str(path)]
    command += ["--extra", environment.extras] if environment.extras else []
    path.with_suffix(".in").write_text(f"{TORCH}\n")
    command += ["--constraint", str(path.with_suffix(".in")), "pyproject.toml"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=600)
    return path


def files_without_their_library(python: Path, environment: Environment) -> dict[str, str]:
    """The files of tests that pytest cannot import there, each with the name of the module that is missing."""
    said = pytest_in(python, environment, "--collect-only", "-q").stdout
    found = re.findall(r"^_+ ERROR collecting (\S+) _+$(.*?)(?=^_+ ERROR|^=+ |\Z)", said, re.MULTILINE | re.DOTALL)
    missing = {}
    for file, why in found:
        names = re.findall(r"^E +ModuleNotFoundError: No module named '(\w+)", why, re.MULTILINE)
        assert names, f"{file} cannot be imported:\n{why}"
        missing[file] = names[-1]
    return missing


def run_tests(python: Path, environment: Environment, *, name: str, ignored: list[str]) -> tuple[str, str | None]:
    """Run what is left; returns counts, and the end of pytest's output where anything failed."""
    report = FOLDER / f"{name}.xml"
    report.unlink(missing_ok=True)
    done = pytest_in(python, environment, "-q", "-n", "2", f"--junitxml={report}", ignored=ignored)
    assert report.exists(), (done.stdout + done.stderr)[-4000:]
    (suite,) = ET.parse(report).getroot().iter("testsuite")  # noqa: S314 - pytest wrote it
    tests, skipped = int(suite.attrib["tests"]), int(suite.attrib["skipped"])
    failed = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
    counts = f"{tests - failed - skipped} passed, {failed} failed, {skipped} skipped"
    assert tests > failed + skipped, f"nothing passed: {counts}"
    return counts, None if done.returncode == 0 else (done.stdout + done.stderr)[-8000:]


def pytest_in(
    python: Path, environment: Environment, *options: str, ignored: Collection[str] = ()
) -> "subprocess.CompletedProcess[str]":
    marks = "not full and not huge and not compiler and not tensorrt and not environments"
    command = [str(python), "-m", "pytest", "-p", "no:cacheprovider", "-m", marks, *options]
    # A folder that is left out is not collected either, so that its conftest.py is not imported.
    without = {*ignored, *(path for path in environment.left_out if "::" not in path)}
    command += [f"--ignore={path}" for path in without]
    command += [f"--deselect={path}" for path in environment.left_out if "::" in path]
    return subprocess.run(
        [*command, *(path for path in environment.tests if path not in without)],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=3600,
        check=False,
    )


def versions_in(python: Path) -> tuple[str, str]:
    """Versions of Python, and of the libraries that most depends on."""
    code = (
        "import importlib.metadata as m, json, platform\n"
        "installed = {d.metadata['Name'].lower().replace('-', '_'): d.version for d in m.distributions()}\n"
        "print(json.dumps([platform.python_version(), installed]))"
    )
    version, installed = json.loads(subprocess.check_output([str(python), "-c", code], env=clean_environment()))
    names = [name for name in SHOWN if name.replace("-", "_") in installed]
    return version, " ".join(f"{name} {installed[name.replace('-', '_')]}" for name in names)
