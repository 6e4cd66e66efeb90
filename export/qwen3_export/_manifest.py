"""``manifest.json``: where a model directory comes from, and the sha256 of each of its files."""

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"


def write_manifest(directory: Path, facts: Mapping[str, Any]) -> None:
    """Hash every file below ``directory`` and write the manifest into it.

    Args:
        directory: A finished model directory.
        facts: What to say beside the files: source, revision, precision and the like.
    """
    files = {
        path.relative_to(directory).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
    packages = ("qwen3-triton", "onnx", "onnx_ir", "onnxscript", "numpy")
    manifest = {
        **facts,
        "versions": {package: version(package) for package in packages},
        "files": files,
    }
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", "utf-8")


def sha256(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
