"""The Triton installation to run: the one inside the nvidia-pytriton wheel, or any other by its path.

This module knows where an installation keeps its backends and what environment its processes need. It starts nothing.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from ..errors import ServeError
from .plain_paths import plain_path

EMBEDDED_CONFIG = "embedded"  # configs/embedded.pbtxt of every exported model


@dataclass(frozen=True, slots=True)
class Runtime:
    """One Triton installation.

    Attributes:
        binary: The `tritonserver` program.
        backends: Its backend directory.
        caches: Its directory of response caches; it need not exist.
        libraries: Folders to add to LD_LIBRARY_PATH.
        stub: The python backend's worker for this interpreter, if the installation keeps it in another folder than
            the backend expects; else None.
        config_name: The model configuration that fits its backends: `embedded`, or None for config.pbtxt.
    """

    binary: Path
    backends: Path
    caches: Path
    libraries: tuple[Path, ...]
    stub: Path | None
    config_name: str | None

    @property
    def config_file(self) -> str:
        """The path of that configuration in a model directory."""
        return "config.pbtxt" if self.config_name is None else f"configs/{self.config_name}.pbtxt"

    def backend_directory(self, scratch: Path) -> Path:
        """Return a backend directory with the stub where Triton expects it, made in `scratch` if need be."""
        if self.stub is None:
            return plain_path(self.backends, scratch=scratch, name="backends")
        python = scratch / "backends" / "python"
        python.mkdir(parents=True)
        for file in ("libtriton_python.so", "triton_python_backend_utils.py"):
            (python / file).symlink_to(self.backends / "python" / file)
        # A copy and no link: the backend runs it from this folder, and in the wheel it may not be executable.
        (python / self.stub.name).write_bytes(self.stub.read_bytes())
        (python / self.stub.name).chmod(0o755)
        return python.parent

    def environment(self, scratch: Path) -> dict[str, str]:
        """Return the environment of the Triton process. The stub takes its packages from the first python3 on PATH.

        Args:
            scratch: A folder for a link to this interpreter's environment, if the path of that is not plain.
        """
        # From 1.29 on, ONNX Runtime sends events to Microsoft unless this is set before it is imported.
        environment = {"ORT_DISABLE_TELEMETRY": "1", **os.environ}
        if self.libraries:
            known = environment.get("LD_LIBRARY_PATH", "").split(os.pathsep)
            paths = [*map(str, self.libraries), *filter(None, known)]
            environment["LD_LIBRARY_PATH"] = os.pathsep.join(paths)
        programs = Path(sys.executable).absolute().parent
        prefix = plain_path(programs.parent, scratch=scratch, name="python")
        environment["PATH"] = os.pathsep.join([str(prefix / programs.name), environment.get("PATH", "")])
        return environment


def find_runtime(tritonserver: Path | None = None) -> Runtime:
    """Find the wheel's Triton, or the one at `tritonserver`.

    Raises:
        ServeError: It is not there, or none of its backends can run an exported model.
    """
    if tritonserver is None:
        spec = importlib.util.find_spec("pytriton")
        if spec is None or spec.origin is None:
            if sys.version_info >= (3, 13):  # pip leaves it out of the extra, because it requires numpy below 2
                raise ServeError(
                    "on Python 3.13, install Triton's wheel by itself: pip install --no-deps nvidia-pytriton==0.7.0"
                )
            raise ModuleNotFoundError("No module named 'pytriton'", name="pytriton")
        binary = Path(spec.origin).parent / "tritonserver" / "bin" / "tritonserver"
    else:
        found = shutil.which(tritonserver)
        if found is None:
            raise ServeError(f"there is no program {tritonserver}; give the path of the tritonserver binary")
        binary = Path(found).resolve()
    home = binary.parents[1]
    backends, caches = home / "backends", home / "caches"
    if (backends / "onnxruntime").is_dir():
        return Runtime(binary, backends, caches, (), None, None)
    if not (backends / "python").is_dir():
        raise ServeError(f"{backends} holds neither the onnxruntime nor the python backend; use a Triton that has one")
    if (backends / "python" / "triton_python_backend_stub").is_file():
        return Runtime(binary, backends, caches, (), None, EMBEDDED_CONFIG)
    interpreter = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = home / "python_backend_stubs" / interpreter / "triton_python_backend_stub"
    if not stub.is_file():
        raise ServeError(f"{home} has no python backend for Python {interpreter}; use Python 3.10 to 3.13")
    # The wheel is in site-packages/pytriton/tritonserver and its libraries are in site-packages.
    wheel_libraries = home.parents[1] / "nvidia_pytriton.libs"
    return Runtime(binary, backends, caches, (wheel_libraries, *_libpython_folder()), stub, EMBEDDED_CONFIG)


def _libpython_folder() -> tuple[Path, ...]:
    """Return the folder of this interpreter's shared library; nothing if the system's loader finds it.

    Raises:
        ServeError: The interpreter was built without one.
    """
    library = sysconfig.get_config_var("INSTSONAME") or ""
    if ".so" not in library:
        library = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    for folder in (sysconfig.get_config_var("LIBDIR"), Path(sys.base_prefix) / "lib"):
        if folder and (Path(folder) / library).is_file():
            return (Path(folder),)
    try:
        ctypes.CDLL(library)
    except OSError:
        raise ServeError(
            f"{library} is missing, and Triton's python backend needs it; install it "
            f"(Debian, Ubuntu: apt install {library.partition('.so')[0]}) or use another Python"
        ) from None
    return ()
