"""Which kind of model a checkpoint is: an embedding model or a reranker.

The published models of both kinds have the same tensors and the same fields in config.json, so the kind is taken from
other files and names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .checkpoint.json_file import read_object_if_there
from .checkpoint.modules import module_types
from .checkpoint.sentence_config import MODEL_CONFIG
from .errors import ExportError

Kind = Literal["embedding", "reranker"]
KINDS: tuple[Kind, ...] = ("embedding", "reranker")

MODEL_NAMES: dict[Kind, str] = {"embedding": "qwen3_embedding", "reranker": "qwen3_reranker"}
FAMILIES: dict[Kind, str] = {"embedding": "Qwen3-Embedding", "reranker": "Qwen3-Reranker"}

_SAVED_KINDS = ("SentenceTransformer", "CrossEncoder")


@dataclass(frozen=True, slots=True)
class DetectedKind:
    """A kind, and what it was detected from, as a phrase that can stand in parentheses."""

    kind: Kind
    reason: str


def detect_kind(
    folder: Path, *, source: str, asked: Kind | None = None, saved_folder: Path | None = None
) -> DetectedKind:
    """Detect the kind of a checkpoint.

    Args:
        folder: The folder with its files.
        source: The name that the user gave: a Hub id or a folder.
        asked: The kind that the user asked for, which is taken as it is; None to detect it.
        saved_folder: The folder that sentence-transformers saved, if it is another one: that of an adapter.

    Raises:
        ExportError: The checkpoint is of neither kind.
    """
    if asked is not None:
        return DetectedKind(asked, "from --kind")
    # sentence-transformers writes the kind since release 5. Before, only embedding models had a modules.json, and
    # they have a pooling module.
    saved_folder = saved_folder or folder
    saved = read_object_if_there(saved_folder / MODEL_CONFIG).get("model_type")
    if saved is not None and saved not in _SAVED_KINDS:
        raise ExportError(
            f"{saved_folder / MODEL_CONFIG} describes a {saved}; embedding models "
            "(SentenceTransformer) and rerankers (CrossEncoder) can be exported"
        )
    if saved == "CrossEncoder":
        return DetectedKind("reranker", f"{MODEL_CONFIG} describes a cross-encoder")
    types = module_types(saved_folder)
    if "LogitScore" in types:
        return DetectedKind("reranker", "modules.json describes a cross-encoder")
    if saved is not None or "Pooling" in types:
        return DetectedKind(
            "embedding", "modules.json has a pooling module" if saved is None else "sentence-transformers saved it"
        )
    config = read_object_if_there(folder / "config.json")
    if is_classifier(config):
        return DetectedKind("reranker", f"config.json names {config['architectures'][0]}")
    # transformers stores the name under which a checkpoint was loaded.
    names = [source.rstrip("/").rpartition("/")[2], str(config.get("_name_or_path", ""))]
    for name in names:
        for kind in KINDS:
            if kind in name.lower():
                return DetectedKind(kind, f"from the name {name}")
    return DetectedKind("embedding", "the default; --kind reranker for a reranker")


def is_classifier(config: Mapping[str, Any]) -> bool:
    """Say whether a `config.json` is that of a model with a head for sequence classification."""
    return any(str(name).endswith("ForSequenceClassification") for name in config.get("architectures") or [])
