"""The batching plugin, compiled for the tests with this machine's compilers."""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from support.batching import Plugin

HERE = Path(__file__).parent
SOURCE = HERE.parents[2] / "docker" / "batching"
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wshadow", "-Wconversion"]

Build = Callable[[Path, Sequence[str]], None]


@pytest.fixture(scope="session")
def compiler() -> str:
    """A C++ compiler that finds nlohmann-json."""
    found = shutil.which("c++")
    if found is None or shutil.which("make") is None or not _has_header(found, "nlohmann/json.hpp"):
        pytest.fail(
            "the batching plugin's tests need make, a C++ compiler and nlohmann-json; "
            "Debian, Ubuntu: apt install make g++ nlohmann-json3-dev"
        )
    return found


def _has_header(compiler: str, header: str) -> bool:
    preprocessed = subprocess.run(
        [compiler, "-E", "-x", "c++", "-"], input=f"#include <{header}>", capture_output=True, text=True, check=False
    )
    return preprocessed.returncode == 0


@pytest.fixture(scope="session")
def build(compiler: str) -> Build:
    """Compile the plugin and the stand-in for Triton into one file, with more options for compiler and linker."""

    def compile_all(target: Path, options: Sequence[str]) -> None:
        sources = [SOURCE / "token_budget.cc", HERE / "stand_in.cc"]
        if "-shared" not in options:
            sources.append(HERE / "lives.cc")
        flags = ["-std=c++17", "-g", "-O1", "-fPIC", *WARNINGS, "-I", str(HERE / "include"), *options]
        subprocess.run([compiler, *flags, "-o", str(target), *map(str, sources)], check=True)

    return compile_all


@pytest.fixture(scope="session")
def plugin(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Plugin:
    """The plugin with its stand-in for Triton; undefined behaviour ends the process."""
    library = tmp_path_factory.mktemp("batching") / "libtoken_budget_test.so"
    build(library, ["-shared", "-fsanitize=undefined", "-fno-sanitize-recover=all"])
    return Plugin(library)


@pytest.fixture(scope="session")
def built(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugin as its own Makefile builds it, for a real Triton."""
    folder = tmp_path_factory.mktemp("built")
    subprocess.run(
        ["make", "-s", "-C", str(SOURCE), f"BUILD={folder}", f"INCLUDE={HERE / 'include'}", f"CXX={compiler}"],
        check=True,
    )
    return folder / "libtoken_budget.so"
