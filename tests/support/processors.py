"""Processors that tests run graphs on: this one, and others under an emulator."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from qwen3_export.cpu import instruction_sets
from qwen3_export.operators import operators

import hatch_build

COVERED = pytest.StashKey[list[str]]()  # of pytest's configuration: the processors that a run of tests covered


@dataclass(frozen=True, slots=True)
class Processor:
    """Where graphs run.

    Attributes:
        name: For reports.
        launcher: The command that runs a program on it; none natively.
        saturates: Whether usual int8 sums must be found to saturate; None if either is right.
        lacks: An instruction set of this processor that the launcher takes away, and emulates nothing; else "".
        emulates_amx: Whether the instructions of AMX are emulated, one by one.
    """

    name: str
    launcher: tuple[str, ...] = ()
    saturates: bool | None = None
    lacks: str = ""
    emulates_amx: bool = False

    def __str__(self) -> str:
        is_native = not self.launcher or bool(self.lacks)
        names = [name for name in instruction_sets() if name != self.lacks]
        how = ", ".join(names) if is_native else f"emulated by {' '.join(self.launcher)}"
        return f"{self.name}: {how}"


NATIVE = Processor("native")
WITHOUT_AMX = Processor("without AMX", (sys.executable, str(Path(__file__).with_name("without_amx.py"))), lacks="AMX")
AVX2 = Processor("AVX2", ("qemu-x86_64", "-cpu", "Haswell"), saturates=True)


def amx(folder: Path) -> Processor:
    """This processor and AMX, which a library emulates that is compiled into a folder.

    Skips the test on a processor with AMX, and on one without the parts of AVX-512 that AMX comes with.
    """
    has = operators()
    if not (has.has_bf16 and has.has_int8_products):
        pytest.skip("emulated AMX needs a processor with AVX512-BF16 and AVX512-VNNI")
    if "AMX" in instruction_sets():
        pytest.skip("this processor has AMX, so that the tests without an emulator cover it")
    source, library = Path(__file__).with_name("amx.c"), folder / "amx.so"
    flags = ("-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror")
    subprocess.run(
        [sys.executable, "-m", "ziglang", "cc", "-target", "x86_64-linux-gnu", *flags, source, "-o", library],
        env={**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(hatch_build.compiler_cache(folder))},
        check=True,
        timeout=300,
    )
    return Processor("AMX", ("env", f"LD_PRELOAD={library}"), emulates_amx=True)
