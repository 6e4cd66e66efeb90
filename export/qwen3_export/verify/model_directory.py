"""The model directories that verify works on, and what their manifests state.

Knows nothing about graphs or checkpoints, and needs nothing beyond the standard library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import cast

from ..errors import ExportError
from ..kind import Kind
from ..model_directory.manifest import MANIFEST, read_manifest
from ..model_directory.repository import exported_models, model_around
from .errors import VerifyError

TOKENIZER = "tokenizer.json"

# The output tensors of each kind of model, as in the tensor contract.
OUTPUTS: dict[Kind, tuple[str, ...]] = {"embedding": ("embedding",), "reranker": ("score", "logit")}


@dataclass(frozen=True, slots=True)
class StoredFile:
    """The size and sha256 of one file according to the manifest."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ModelDirectory:
    """One exported model.

    Attributes:
        path: Its directory; the directory's name is the model's name in Triton.
        kind: `embedding` or `reranker`.
        source: The checkpoint that it was exported from: a Hub id, a folder, `demo` or `tiny`.
        revision: The commit on the Hub, or `""`.
        adapter: The folder of the adapter that was merged into it, or `""`.
        device: What runs it, `cpu` or `cuda`.
        precision: The precision of the export, such as `fp32`.
        version: The newest version, which the other attributes describe.
        files: Every file except the manifest, by its path in the directory.
    """

    path: Path
    kind: Kind
    source: str
    revision: str
    adapter: str
    device: str
    precision: str
    version: int
    files: Mapping[str, StoredFile]

    @property
    def name(self) -> str:
        """The model's name in Triton."""
        return self.path.name

    @property
    def graph(self) -> Path:
        """The path of the newest version's model.onnx."""
        return self.path / str(self.version) / "model.onnx"


def find_models(repository: Path, *, name: str | None = None) -> list[Path]:
    """Return the directories of the exported models in a repository, sorted by name.

    Args:
        repository: The model repository.
        name: The one model to return; None for all.

    Raises:
        VerifyError: There is none.
    """
    if not repository.is_dir():
        raise VerifyError(f"there is no model repository {repository}; correct --repository")
    if model := model_around(repository):
        raise VerifyError(f"{repository} belongs to one model; give --repository {model.parent} --name {model.name}")
    exported = exported_models(repository)
    if not exported:
        raise VerifyError(f"{repository} holds no exported model; write one with `qwen3-triton export`")
    if name is None:
        return exported
    chosen = [path for path in exported if path.name == name]
    if not chosen:
        names = ", ".join(path.name for path in exported)
        raise VerifyError(f"{repository} holds no exported model {name}; correct --name, which can be: {names}")
    return chosen


def read_model(path: Path) -> ModelDirectory:
    """Read the manifest of one model directory.

    Raises:
        VerifyError: It is missing, or does not state what verify needs.
    """
    try:
        manifest = read_manifest(path)
    except ExportError as error:
        raise VerifyError(str(error)) from None
    if manifest.get("device") == "tensorrt":
        raise VerifyError(f"{path} was exported for TensorRT, which verify does not support; give another with --name")
    try:
        # Exports from before rerankers were supported state no kind, and those from before versions have version 1.
        kind = manifest.get("kind", "embedding")
        version = int(manifest.get("model_version", 1))
        files = {
            _inside(name): StoredFile(bytes=int(entry["bytes"]), sha256=str(entry["sha256"]))
            for name, entry in manifest["files"].items()
        }
        if kind not in OUTPUTS:
            raise ValueError(f"there is no kind {kind!r}")
        graph = f"{version}/model.onnx"
        if not {graph, TOKENIZER} <= set(files):
            raise ValueError(f"its files lack {graph} or {TOKENIZER}")
        return ModelDirectory(
            path=path,
            kind=cast(Kind, kind),
            source=str(manifest["source"]),
            revision=str(manifest.get("revision", "")),
            adapter=str(manifest.get("adapter", "")),
            device=str(manifest.get("device", "cpu")),
            precision=str(manifest["precision"]),
            version=version,
            files=files,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else f"is not valid ({error})"
        raise VerifyError(f"{path / MANIFEST} {reason}; export the model again") from None


def _inside(name: str) -> str:
    """Return the name of a file if it is inside the model directory; raise ValueError if it is not."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"it names a file {name!r} outside the directory")
    return name
