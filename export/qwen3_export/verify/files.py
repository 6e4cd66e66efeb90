"""Comparison of a model directory's files with its manifest, which has the size and sha256 of every file.

Needs neither torch nor ONNX Runtime nor the checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..model_directory.manifest import MANIFEST, sha256
from .model_directory import ModelDirectory
from .progress import Progress, silent


@dataclass(frozen=True, slots=True)
class FileReport:
    """The result of checking one model directory.

    Attributes:
        files: Number of files that were compared with the manifest.
        bytes: Their total size according to the manifest.
        faults: One line for each file that is missing, altered, or not in the manifest.
    """

    files: int
    bytes: int
    faults: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether there was at least one file and all of them are as exported."""
        return self.files > 0 and not self.faults


def check_files(model: ModelDirectory, *, tuned_configs: bool = False, progress: Progress = silent) -> FileReport:
    """Compare the size and sha256 of every file with the manifest.

    An older version whose folder was deleted is left out.

    Args:
        model: From `read_model`.
        tuned_configs: Accept .pbtxt files that were edited after the export; they must still exist.
        progress: Receives the number of bytes hashed.
    """
    faults = []
    files = {name: stored for name, stored in model.files.items() if not _is_retired(model, name)}
    total = sum(stored.bytes for stored in files.values())
    with progress(f"{model.name}: files", total=total, unit="B") as advance:
        for name, stored in files.items():
            fault = _fault(
                model.path / name,
                stored.bytes,
                stored.sha256,
                may_differ=tuned_configs and name.endswith(".pbtxt"),
                advance=advance,
            )
            if fault is not None:
                hint = "; --tuned-configs if that was you" if fault.startswith("altered") and _is_config(name) else ""
                faults.append(f"{name}: {fault}{hint}")
    faults += [f"{name}: extra, not in manifest.json" for name in _extra(model)]
    return FileReport(files=len(files), bytes=total, faults=tuple(faults))


def _fault(path: Path, size: int, digest: str, *, may_differ: bool, advance: Callable[[int], None]) -> str | None:
    if not path.is_file():
        return "missing"
    if may_differ:
        return None
    try:
        found = path.stat().st_size
        if found != size:
            return f"altered, it has {found:,} bytes instead of {size:,}"
        if sha256(path, advance=advance) != digest:
            return "altered, its sha256 is not the manifest's"
    except OSError as error:
        return f"cannot be read, {error.strerror}"
    return None


def _extra(model: ModelDirectory) -> list[str]:
    """Return the names of files that are not in the manifest, except what Python compiled when Triton ran model.py."""
    found = (path for path in model.path.rglob("*") if not path.is_dir() or path.is_symlink())
    names = {path.relative_to(model.path).as_posix() for path in found if path.parent.name != "__pycache__"}
    return sorted(names - set(model.files) - {MANIFEST})


def _is_retired(model: ModelDirectory, name: str) -> bool:
    """Whether a file belongs to an older version whose folder is gone."""
    folder = PurePosixPath(name).parts[0]
    return folder.isdecimal() and int(folder) != model.version and not (model.path / folder).exists()


def _is_config(name: str) -> bool:
    return name.endswith(".pbtxt")
