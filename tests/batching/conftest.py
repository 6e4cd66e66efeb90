"""The batching plugin, compiled for the tests with this machine's compilers."""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from support.batching import Plugin

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "docker" / "batching"
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wshadow", "-Wconversion"]

Build = Callable[[Path, Sequence[str]], None]


@pytest.fixture(scope="session")
def compilers() -> tuple[str, str]:
    """A C and a C++ compiler."""
    found = shutil.which("cc"), shutil.which("c++")
    if None in found or shutil.which("make") is None:
        pytest.fail("the batching plugin's tests need make, cc and c++; Debian, Ubuntu: apt install make gcc g++")
    return str(found[0]), str(found[1])


@pytest.fixture(scope="session")
def build(compilers: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Compile the plugin and the stand-in for Triton into one file, with more options for compiler and linker."""
    c, cpp = compilers

    def compile_all(target: Path, options: Sequence[str]) -> None:
        folder = tmp_path_factory.mktemp("objects")
        common = ["-g", "-O1", "-fPIC", *WARNINGS, f"-I{SOURCE}", f"-I{HERE / 'include'}", *options]
        sources = [*SOURCE.glob("*.c"), SOURCE / "plugin.cc", HERE / "stand_in.cc"]
        if "-shared" not in options:
            sources.append(HERE / "lives.cc")
        objects = []
        for source in sources:
            objects.append(folder / f"{source.stem}.o")
            language = [c, "-std=c11", "-Wpedantic"] if source.suffix == ".c" else [cpp, "-std=c++17"]
            subprocess.run([*language, *common, "-c", str(source), "-o", str(objects[-1])], check=True)
        subprocess.run([cpp, *options, "-o", str(target), *map(str, objects)], check=True)

    return compile_all


@pytest.fixture(scope="session")
def plugin(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Plugin:
    """The plugin with its stand-in for Triton; undefined behaviour ends the process."""
    library = tmp_path_factory.mktemp("batching") / "libtoken_budget_test.so"
    build(library, ["-shared", "-fsanitize=undefined", "-fno-sanitize-recover=all"])
    return Plugin(library)


@pytest.fixture(scope="session")
def built(compilers: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugin as its own Makefile builds it, for a real Triton."""
    folder = tmp_path_factory.mktemp("built")
    c, cpp = compilers
    subprocess.run(
        ["make", "-s", "-C", str(SOURCE), f"BUILD={folder}", f"INCLUDE={HERE / 'include'}", f"CC={c}", f"CXX={cpp}"],
        check=True,
    )
    return folder / "libtoken_budget.so"
