"""Which of the two kinds of model a checkpoint is: embedding or reranker.

Both kinds have the same weights and the same config.json; only what lies around them tells.
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
class Judgement:
    """A kind, and what it was taken from, in words for parentheses."""

    kind: Kind
    reason: str


def judge(folder: Path, *, source: str, asked: Kind | None = None) -> Judgement:
    """Tell the kind of a checkpoint.

    Args:
        folder: Where its files lie.
        source: The name the user gave: a Hub id or a folder.
        asked: What the user said, if anything; it wins.
    """
    if asked is not None:
        return Judgement(asked, "from --kind")
    # sentence-transformers' own files: a pooling module, or a cross-encoder's.
    for file in ("modules.json", "config_sentence_transformers.json"):
        path = folder / file
        content = path.read_text("utf-8", errors="replace") if path.is_file() else ""
        if "CrossEncoder" in content or "cross_encoder" in content:
            return Judgement("reranker", f"{file} describes a cross-encoder")
        if ".Pooling" in content:
            return Judgement("embedding", f"{file} has a pooling module")
    names = [source.rstrip("/").rpartition("/")[2], _saved_name(folder)]
    for name in names:
        for kind in KINDS:
            if kind in name.lower():
                return Judgement(kind, f"from the name {name}")
    return Judgement("embedding", "the default; --kind reranker for a reranker")


def _saved_name(folder: Path) -> str:
    """The name that transformers noted in config.json, or `""`."""
    try:
        return str(json.loads((folder / "config.json").read_text("utf-8")).get("_name_or_path", ""))
    except (OSError, ValueError):
        return ""
