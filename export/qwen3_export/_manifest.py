"""``manifest.json``: where a model directory comes from, and the sha256 of each of its files."""

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
# What manifests and configurations alike say about where a model comes from.
SOURCE_FACTS = ("model_family", "model_size", "source", "revision", "device", "precision")


def write_manifest(directory: Path, facts: Mapping[str, Any]) -> None:
    """Hash every file below ``directory`` and write the manifest into it.

    Args:
        directory: A finished model directory.
        facts: What to say beside the files: source, revision, precision and the like.
    """
    files = {
        path.relative_to(directory).as_posix(): _entry(path) for path in sorted(directory.rglob("*")) if path.is_file()
    }
    packages = ("qwen3-triton", "onnx", "onnx_ir", "onnxscript", "numpy")
    manifest = {
        **facts,
        "versions": {package: version(package) for package in packages},
        "files": files,
    }
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", "utf-8")


def add_to_manifest(directory: Path, *names: str) -> None:
    """Hash files that were written into a model directory after its export, and state them in its manifest.

    Args:
        directory: A model directory with a manifest.
        names: The files' paths in it.
    """
    path = directory / MANIFEST
    manifest = json.loads(path.read_text("utf-8"))
    files = manifest["files"] | {name: _entry(directory / name) for name in names}
    manifest["files"] = dict(sorted(files.items()))
    path.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _entry(path: Path) -> dict[str, int | str]:
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def sha256(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
