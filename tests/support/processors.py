"""Processors that tests run graphs on: this one, and others under an emulator."""

from dataclasses import dataclass

import pytest
from qwen3_export.cpu import instruction_sets

COVERED = pytest.StashKey[list[str]]()  # of pytest's configuration: the processors that a run of tests covered


@dataclass(frozen=True, slots=True)
class Processor:
    """Where graphs run.

    Attributes:
        name: For reports.
        emulator: The command that runs a program; none natively.
        saturates: Whether usual int8 sums must be found to saturate; None if either is right.
    """

    name: str
    emulator: tuple[str, ...] = ()
    saturates: bool | None = None

    def __str__(self) -> str:
        how = f"emulated by {' '.join(self.emulator)}" if self.emulator else ", ".join(instruction_sets())
        return f"{self.name}: {how}"


PROCESSORS = [
    Processor("native"),
    pytest.param(
        Processor("AVX2", ("qemu-x86_64", "-cpu", "Haswell"), saturates=True),
        marks=[pytest.mark.emulator, pytest.mark.timeout(1200)],
    ),
]
