"""The build hook: compiles operators/ into the library that a wheel for Linux on x86-64 carries.

Hatchling runs it before each wheel and each editable install. The compiler is clang from the package `ziglang`, so that
nothing but Python is needed, and one machine's library runs on every system with glibc 2.17 or newer. Elsewhere nothing
is compiled and the wheel holds Python alone. It knows nothing about what the operators compute.
"""

import importlib.metadata
import os
import platform
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LIBRARY = "export/qwen3_export/libqwen3_operators.so"
TAG = "py3-none-manylinux_2_17_x86_64"
COMPILER = ("-m", "ziglang", "c++", "-target", "x86_64-linux-gnu.2.17")
# A product and a sum become one instruction only where the code says so: otherwise the compiler's release would decide
# about the last bits.
FLAGS = ("-std=c++17", "-O3", "-g0", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror")
AVX2 = ("-mavx2", "-mfma")
AVX512 = (*AVX2, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl")
AVX512_BF16 = ("-DBF16", *AVX512, "-mavx512bf16")
# The flags of each object that is made of a file for newer processors; any other file is compiled once, for all x86-64.
VARIANTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "attention_kernel.cpp": (
        ("-DKERNEL=kernel_avx2", *AVX2),
        ("-DKERNEL=kernel_avx512", *AVX512),
        ("-DKERNEL=kernel_avx512_bf16", *AVX512_BF16),
        ("-DKERNEL=kernel_amx", "-DTILES", *AVX512_BF16, "-mamx-tile", "-mamx-bf16"),
    ),
    "int8_product_amx.cpp": ((*AVX512, "-mamx-tile", "-mamx-int8"),),
    "int8_product_vnni.cpp": ((*AVX512, "-mavx512vnni"),),
    "rows.cpp": (("-DROWS=rows_avx2", *AVX2), ("-DROWS=rows_avx512", *AVX512)),
}
# Without it, the library would also export the `new` and `delete` that are linked into it, and other libraries could be
# given them for their own.
EXPORTS = "{ global: RegisterCustomOps; local: *; };\n"
REMEDY = (
    "Install the package from PyPI, which carries the library, or set HATCH_BUILD_NO_HOOKS=true to install without it; "
    "models are then slower on CPUs."
)


class CompileError(Exception):
    """The library cannot be built; the message ends with what to do."""


class OperatorsBuildHook(BuildHookInterface[BuilderConfig]):
    """What hatchling calls before it builds a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """Compile the library where it is missing or outdated, and have the wheel carry it."""
        if not is_supported():
            return
        try:
            if build(Path(self.root)):
                self.app.display_info(f"Compiled operators/ into {LIBRARY}")
        except CompileError as error:
            self.app.abort(str(error))
        build_data["artifacts"].append(f"/{LIBRARY}")
        build_data["pure_python"] = False
        build_data["tag"] = TAG


def is_supported() -> bool:
    """Tell whether the library runs on this machine."""
    return sys.platform == "linux" and platform.machine() == "x86_64" and platform.libc_ver()[0] == "glibc"


def build(root: Path) -> bool:
    """Compile the library of a source tree, unless it is there and made of the same sources by the same compiler.

    Returns:
        Whether it was compiled.

    Raises:
        CompileError: The compiler is missing, or refuses a file.
    """
    identity = identity_of(root / "operators")
    library = root / LIBRARY
    if library.is_file() and identity in library.read_bytes():
        return False
    # On the library's disk, so that it is replaced in one step: running processes may have the former one loaded.
    (root / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root / "build", prefix="operators-") as scratch:
        compile_library(root / "operators", Path(scratch), identity).replace(library)
    return True


def identity_of(sources: Path) -> bytes:
    """Return the build id of the library that these sources give with the installed compiler, 20 bytes."""
    digest = blake2b(compiler().version.encode(), digest_size=20)
    for path in (Path(__file__), *sorted(sources.iterdir())):
        content = path.read_bytes()
        digest.update(f"\n{path.name} {len(content)}\n".encode())
        digest.update(content)
    return digest.digest()


def compiler() -> importlib.metadata.Distribution:
    """Return the installed package of the compiler."""
    try:
        return importlib.metadata.distribution("ziglang")
    except importlib.metadata.PackageNotFoundError:
        raise CompileError(
            "ziglang, which compiles operators/, is missing. Install what [build-system] in pyproject.toml requires, "
            "or leave out --no-build-isolation. To do without the operators, set HATCH_BUILD_NO_HOOKS=true."
        ) from None


def compile_library(sources: Path, scratch: Path, identity: bytes) -> Path:
    """Compile the sources in `scratch`; returns the library's path there."""
    exports = scratch / "exports.map"
    exports.write_text(EXPORTS)
    library = scratch / "library.so"
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(compiler_cache(scratch))}

    def run(*arguments: str | Path) -> None:
        command = [sys.executable, *COMPILER, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            shown = " ".join(map(str, command))
            raise CompileError(f"operators/ cannot be compiled: {shown}\n{done.stderr.strip()}\n{REMEDY}")

    jobs = [
        (source, flags, scratch / f"{source.stem}-{index}.o")
        for source in sorted(sources.glob("*.cpp"))
        for index, flags in enumerate(VARIANTS.get(source.name, ((),)))
    ]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        done = [threads.submit(run, *FLAGS, *flags, "-c", source, "-o", target) for source, flags, target in jobs]
        for each in done:
            each.result()
    options = ("-shared", "-s", "-Wl,--gc-sections", f"-Wl,--version-script={exports}")
    run(*options, f"-Wl,--build-id=0x{identity.hex()}", "-o", library, *(target for _, _, target in jobs))
    return library


def compiler_cache(scratch: Path) -> Path:
    """Return where the compiler keeps the C++ runtime that it compiles first, which takes it most of a minute.

    It is beside the compiler itself: if two installations of ziglang 0.17 share a cache, as they do by default, each
    compiles the runtime again after the other one was used.
    """
    if chosen := os.environ.get("ZIG_GLOBAL_CACHE_DIR"):
        return Path(chosen)
    package = Path(str(compiler().locate_file("ziglang")))
    return package / "cache" if os.access(package, os.W_OK) else scratch / "cache"
