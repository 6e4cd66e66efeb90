"""The compiled operators: what the library gives to others, and what it asks of the system that it runs on."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import qwen3_export
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection
from elftools.elf.sections import SymbolTableSection

import hatch_build

ROOT = Path(__file__).parents[3]
# The newest glibc that wheels of the tag manylinux_2_17 may need.
NEWEST_GLIBC = (2, 17)


@pytest.fixture
def library() -> Iterator[ELFFile]:
    """The library of the installed project."""
    with Path(qwen3_export.__file__).with_name("libqwen3_operators.so").open("rb") as file:
        yield ELFFile(file)


def test_it_exports_what_onnx_runtime_calls_and_nothing_else(library: ELFFile) -> None:
    section = library.get_section_by_name(".dynsym")
    assert isinstance(section, SymbolTableSection)
    symbols = [symbol for symbol in section.iter_symbols() if symbol.name]
    exported = [symbol.name for symbol in symbols if symbol["st_shndx"] != "SHN_UNDEF"]
    assert exported == ["RegisterCustomOps"]
    assert len(symbols) > 1, "it imports others, of the C library"


def test_it_needs_an_old_c_library_and_no_other(library: ELFFile) -> None:
    versions, dynamic = (library.get_section_by_name(name) for name in (".gnu.version_r", ".dynamic"))
    assert isinstance(versions, GNUVerNeedSection)
    assert isinstance(dynamic, DynamicSection)
    needed = {version.name for _, of_a_library in versions.iter_versions() for version in of_a_library}
    found = [re.fullmatch(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?", name) for name in needed]
    assert found
    for match in found:
        assert match is not None, needed
        assert (int(match[1]), int(match[2])) <= NEWEST_GLIBC, match[0]
    libraries = {vars(tag)["needed"] for tag in dynamic.iter_tags("DT_NEEDED")}
    assert libraries <= {"ld-linux-x86-64.so.2", "libc.so.6", "libdl.so.2", "libm.so.6", "libpthread.so.0"}


def test_code_for_newer_processors_gets_nowhere_else(tmp_path: Path) -> None:
    """Of a function that several objects define, such as an inline one, the linker keeps any one for all of them."""
    hatch_build.compile_library(ROOT / "operators", tmp_path, bytes(20))
    objects = [path for path in tmp_path.glob("*.o") if f"{path.stem.rpartition('-')[0]}.cpp" in hatch_build.VARIANTS]
    assert len(objects) >= 3
    for path in objects:
        with path.open("rb") as file:
            section = ELFFile(file).get_section_by_name(".symtab")
            assert isinstance(section, SymbolTableSection)
            defined = [symbol for symbol in section.iter_symbols() if symbol["st_shndx"] != "SHN_UNDEF"]
            shared = [symbol.name for symbol in defined if symbol["st_info"]["bind"] not in {"STB_GLOBAL", "STB_LOCAL"}]
        assert not shared, path.name
