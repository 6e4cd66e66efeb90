"""CUDA libraries that need no GPU, for one release of onnxruntime-gpu; sources in `tests/integration/cuda/stub`.

The functions that the provider's decisions depend on are written in C. All others that it is linked with are generated
here from its list of undefined symbols: they do nothing, record their name, and return success.
"""

import re
import subprocess
from collections import defaultdict
from pathlib import Path

INSTALLED = Path(__file__).parents[2] / "build" / "cuda"
SOURCES = Path(__file__).parents[1] / "integration" / "cuda" / "stub"
_DRIVER = "libcuda.so.1"  # its symbols have no version
_CUDNN = "libcudnn.so"
_CREATE = re.compile(r"(cudnn|cublasLt|curand)Create\w*")  # these hand out a handle
_FLAGS = ["-shared", "-fPIC", "-O1", "-fno-builtin"]


def installed_releases() -> list[str]:
    """Return the releases that `make test-cuda` has installed, such as `1.27.0`, the oldest first."""
    found = [path.name for path in INSTALLED.glob("*") if re.fullmatch(r"\d+(\.\d+)+", path.name)]
    return sorted(found, key=lambda release: tuple(map(int, release.split("."))))


def build_stubs(provider: Path, headers: list[Path], folder: Path) -> None:
    """Build the libraries that `provider`, `libonnxruntime_providers_cuda.so`, is linked with.

    Args:
        provider: The library of the CUDA provider.
        headers: Folders with CUDA's own headers.
        folder: Where to write them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    symbols = _undefined(provider)
    dynamic = _output("readelf", "--dynamic", "--wide", str(provider))
    names = sorted(set(re.findall(r"NEEDED.*\[(lib(?:cu|nv)[^\]]*)\]", dynamic)) | set(symbols))
    if not any(name.startswith("libcudnn") for name in names):  # newer releases load it on demand
        found = set(re.findall(rb"\0(cudnn[A-Z]\w+)(?=\0)", provider.read_bytes()))
        symbols[_CUDNN] = {name.decode() for name in found}
        names.append(_CUDNN)
    (runtime,) = (name for name in names if name.startswith("libcudart"))
    for name in [runtime, *(name for name in names if name != runtime)]:
        stem = re.split(r"[.\d]", name.removeprefix("lib"))[0]
        written = SOURCES / f"{stem}.c"
        text = written.read_text() if written.is_file() else ""
        defined = set(re.findall(r"^[\w ][\w *]*?\*?\b(\w+)\(", text, re.MULTILINE))
        source, versions = folder / f"{name}.c", folder / f"{name}.map"
        source.write_text(text + _generated(symbols[name] - defined, declares="stub_log" in text))
        versions.write_text(f"{name} {{ global: *; }};\n")
        command = ["gcc", *_FLAGS, *(f"-I{header}" for header in headers), f"-Wl,-soname,{name}"]
        if name != _DRIVER:
            command.append(f"-Wl,--version-script,{versions}")
        command += ["-o", str(folder / name), str(source)]
        if name != runtime:
            command += [f"-L{folder}", f"-l:{runtime}"]
        subprocess.run(command, check=True)


def _undefined(library: Path) -> dict[str, set[str]]:
    """Return the functions that a library takes from CUDA's, by the library that has them."""
    symbols: dict[str, set[str]] = defaultdict(set)
    for line in _output("readelf", "--dyn-syms", "--wide", str(library)).splitlines():
        match = re.search(r"\bUND\s+(\w+)(?:@+(\S+))?", line)
        if match is None:
            continue
        name, version = match.groups()
        if version is not None and re.match(r"lib(cu|nv)", version):
            symbols[version].add(name)
        elif version is None and re.match(r"cu[A-Z]", name):
            symbols[_DRIVER].add(name)
    return symbols


def _generated(functions: set[str], *, declares: bool) -> str:
    lines = [] if declares else ["void stub_log(const char *format, ...);"]
    lines.append("extern void *malloc(unsigned long);")
    for name in sorted(functions):
        body = "*handle = malloc(64); " if _CREATE.fullmatch(name) else ""
        parameters = "void **handle" if body else "void"
        lines.append(f'long {name}({parameters}) {{ {body}stub_log("call {name}"); return 0; }}')
    return "\n".join(lines) + "\n"


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
