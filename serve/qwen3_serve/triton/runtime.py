"""Which Triton runs: the one inside the nvidia-pytriton wheel, or any other by its path.

Knows where a Triton keeps its backends and what its processes need to find; starts nothing.
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
        binary: The ``tritonserver`` program.
        backends: Its backend directory.
        caches: Its directory of response caches; it need not exist.
        libraries: Folders for LD_LIBRARY_PATH that its own installation does not set up.
        stub: The python backend's worker for this interpreter, where the installation keeps it elsewhere than
            the backend looks; None if it is in place.
        config_name: Which of a model's configurations fits its backends: ``embedded`` or None for config.pbtxt.
    """

    binary: Path
    backends: Path
    caches: Path
    libraries: tuple[Path, ...]
    stub: Path | None
    config_name: str | None

    def backend_directory(self, scratch: Path) -> Path:
        """A backend directory Triton can use; one with the stub in place is made below ``scratch`` if need be."""
        if self.stub is None:
            return plain_path(self.backends, scratch=scratch, name="backends")
        python = scratch / "backends" / "python"
        python.mkdir(parents=True)
        for file in ("libtriton_python.so", "triton_python_backend_utils.py"):
            (python / file).symlink_to(self.backends / "python" / file)
        # A copy: the backend runs it from this folder, and the wheel does not always mark it executable.
        (python / self.stub.name).write_bytes(self.stub.read_bytes())
        (python / self.stub.name).chmod(0o755)
        return python.parent

    def environment(self, scratch: Path) -> dict[str, str]:
        """The environment of the process: the stub takes its packages from the first python3 on PATH.

        Args:
            scratch: A folder for a link to this interpreter's environment, if that has a path that is not plain.
        """
        # ONNX Runtime from 1.29 on sends events to Microsoft unless this is set before it is imported.
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
    """Find the wheel's Triton, or describe the one at ``tritonserver``.

    Raises:
        ServeError: There is none, or none of its backends runs an exported model.
    """
    if tritonserver is None:
        spec = importlib.util.find_spec("pytriton")
        if spec is None or spec.origin is None:
            if sys.version_info >= (3, 13):  # pip does not install it with the extra: it asks for numpy below 2
                raise ServeError(
                    "on Python 3.13, install Triton's wheel by itself: pip install --no-deps nvidia-pytriton==0.7.0"
                )
            raise ModuleNotFoundError("No module named 'pytriton'", name="pytriton")
        binary = Path(spec.origin).parent / "tritonserver" / "bin" / "tritonserver"
    else:
        found = shutil.which(tritonserver)
        if found is None:
            raise ServeError(f"there is no program {tritonserver}; name the tritonserver binary")
        binary = Path(found).resolve()
    home = binary.parents[1]
    backends, caches = home / "backends", home / "caches"
    if (backends / "onnxruntime").is_dir():
        return Runtime(binary, backends, caches, (), None, None)
    if not (backends / "python").is_dir():
        raise ServeError(f"{backends} holds neither the onnxruntime nor the python backend")
    if (backends / "python" / "triton_python_backend_stub").is_file():
        return Runtime(binary, backends, caches, (), None, EMBEDDED_CONFIG)
    interpreter = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = home / "python_backend_stubs" / interpreter / "triton_python_backend_stub"
    if not stub.is_file():
        raise ServeError(f"{home} has no python backend for Python {interpreter}; use Python 3.10 to 3.13")
    # The wheel lies in site-packages/pytriton/tritonserver and its libraries in site-packages.
    wheel_libraries = home.parents[1] / "nvidia_pytriton.libs"
    return Runtime(binary, backends, caches, (wheel_libraries, *_libpython_folder()), stub, EMBEDDED_CONFIG)


def _libpython_folder() -> tuple[Path, ...]:
    """Where the stub finds this interpreter's shared library.

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
        ctypes.CDLL(library)  # the system's loader may know it
    except OSError:
        raise ServeError(
            f"{library} is missing, and Triton's python backend needs it; install it "
            f"(Debian, Ubuntu: apt install {library.partition('.so')[0]}) or use another Python"
        ) from None
    return ()
