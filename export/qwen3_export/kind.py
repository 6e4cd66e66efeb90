"""Which kind of model a checkpoint is: an embedding model or a reranker.

Both kinds have the same tensors and the same fields in config.json, so the kind is taken from other files and names.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["embedding", "reranker"]
KINDS: tuple[Kind, ...] = ("embedding", "reranker")

MODEL_NAMES: dict[Kind, str] = {"embedding": "qwen3_embedding", "reranker": "qwen3_reranker"}
FAMILIES: dict[Kind, str] = {"embedding": "Qwen3-Embedding", "reranker": "Qwen3-Reranker"}


@dataclass(frozen=True, slots=True)
class DetectedKind:
    """A kind, and what it was detected from, as a phrase that can stand in parentheses."""

    kind: Kind
    reason: str


def detect_kind(folder: Path, *, source: str, asked: Kind | None = None) -> DetectedKind:
    """Detect the kind of a checkpoint.

    Args:
        folder: The folder with its files.
        source: The name that the user gave: a Hub id or a folder.
        asked: The kind that the user asked for, which is taken as it is; None to detect it.
    """
    if asked is not None:
        return DetectedKind(asked, "from --kind")
    # Files of sentence-transformers: an embedding model has a pooling module, a reranker is a cross-encoder.
    for file in ("modules.json", "config_sentence_transformers.json"):
        path = folder / file
        content = path.read_text("utf-8", errors="replace") if path.is_file() else ""
        if "CrossEncoder" in content or "cross_encoder" in content:
            return DetectedKind("reranker", f"{file} describes a cross-encoder")
        if ".Pooling" in content:
            return DetectedKind("embedding", f"{file} has a pooling module")
    names = [source.rstrip("/").rpartition("/")[2], _saved_name(folder)]
    for name in names:
        for kind in KINDS:
            if kind in name.lower():
                return DetectedKind(kind, f"from the name {name}")
    return DetectedKind("embedding", "the default; --kind reranker for a reranker")


def _saved_name(folder: Path) -> str:
    """Return the name that transformers stored in config.json, or `""`."""
    try:
        return str(json.loads((folder / "config.json").read_text("utf-8")).get("_name_or_path", ""))
    except (OSError, ValueError):
        return ""
