"""`manifest.json`: where a model directory comes from, and the size and sha256 of each of its files."""

import hashlib
import json
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..errors import ExportError

MANIFEST = "manifest.json"
_SOURCE_FACTS = (
    "model_family",
    "model_size",
    "source",
    "revision",
    "adapter",
    "adapter_sha256",
    "device",
    "precision",
    "model_sha256",
    "fingerprint",
)


def source_facts(parameters: Mapping[str, str]) -> dict[str, str]:
    """Return the facts about a model's source that both its manifest and its configurations state."""
    return {key: parameters[key] for key in _SOURCE_FACTS if key in parameters}


def write_manifest(directory: Path, facts: Mapping[str, Any]) -> None:
    """Hash every file in `directory` and write the manifest.

    Args:
        directory: A model directory that is complete except for the manifest.
        facts: What the manifest states besides the files: source, revision, precision and the like.
    """
    files = {
        path.relative_to(directory).as_posix(): _entry(path) for path in sorted(directory.rglob("*")) if path.is_file()
    }
    packages = ("qwen3-triton", "onnx", "onnx_ir", "onnxscript", "numpy")
    versions = {package: version(package) for package in packages}
    save_manifest(directory, {**facts, "versions": versions, "files": files})


def add_to_manifest(directory: Path, *names: str) -> None:
    """Hash files that were written after the export, and add them to the manifest.

    Args:
        directory: A model directory with a manifest.
        names: The files' paths in the directory.
    """
    manifest = read_manifest(directory)
    save_manifest(directory, manifest | {"files": manifest["files"] | {n: _entry(directory / n) for n in names}})


def read_manifest(directory: Path) -> dict[str, Any]:
    """Read the manifest of a model directory. Its `files` is a dictionary.

    Raises:
        ExportError: The manifest is missing or cannot be read.
    """
    path = directory / MANIFEST
    again = "export the model again with --force"
    try:
        found: Any = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ExportError(f"{path} is missing; {again}") from None
    except (OSError, ValueError) as error:
        raise ExportError(f"{path} cannot be read ({error}); {again}") from None
    if not isinstance(found, dict):
        raise ExportError(f"{path} does not hold a JSON object; {again}")
    if not isinstance(found.get("files"), dict):
        raise ExportError(f"{path} lacks 'files'; {again}")
    return found


def save_manifest(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest of a model directory, with its files sorted by name."""
    ordered = {**manifest, "files": dict(sorted(manifest["files"].items()))}
    (directory / MANIFEST).write_text(json.dumps(ordered, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _entry(path: Path) -> dict[str, int | str]:
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def sha256(path: Path, *, advance: Callable[[int], object] = lambda _bytes: None) -> str:
    """Hash a file piece by piece.

    Args:
        path: The file.
        advance: Called with the number of bytes of each piece.

    Returns:
        The hex digest.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
            advance(len(piece))
    return digest.hexdigest()
