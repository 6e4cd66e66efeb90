"""What says to which sizes an embedding model's vectors may be cut.

Qwen3-Embedding is trained for all sizes from 32 to the hidden size. Other checkpoints say it in one of two files, or
not at all:

- config.json: `matryoshka_dimensions`, a list, or `is_matryoshka`, which vLLM reads too;
- the model card that sentence-transformers writes after training: it lists the losses, and the sizes of MatryoshkaLoss.

Knows nothing about graphs.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..errors import ExportError
from .checkpoint import Checkpoint
from .json_file import read_object
from .modules import PLAIN
from .mrl import FIXED, LEAST, Mrl, parse_sizes, size_list, size_range

CARD = "README.md"

_PUBLISHED = re.compile(r"tiny|Qwen/Qwen3-Embedding-[\w.-]+")
_FRONT_MATTER = re.compile(r"---\n(.*?)\n---\n", re.DOTALL)
_LOSS = re.compile(r"^- loss:(\w+)\s*$", re.MULTILINE)
_CARD_SIZES = re.compile(r'"matryoshka_dims":\s*\[([\d,\s]+)\]')


def read_mrl(checkpoint: Checkpoint, *, asked: str | None = None) -> Mrl:
    """Find the sizes to which the vectors of an embedding model may be cut.

    Args:
        checkpoint: The checkpoint.
        asked: What the user says: `fixed`, a range, or a list.

    Raises:
        ExportError: The user or config.json names sizes that the model does not have.
    """
    full = checkpoint.dimensions
    if asked is not None:
        return Mrl(parse_sizes(asked, full=full), "from --dimensions")
    config = read_object(checkpoint.folder / "config.json")
    stated = _from_config(config, full=full) or next(
        (found for folder in (checkpoint.adapter, checkpoint.folder) if folder and (found := _from_card(folder, full))),
        None,
    )
    if stated is not None:
        return stated
    every = size_range(LEAST, full)
    if _PUBLISHED.fullmatch(checkpoint.source) and checkpoint.adapter is None:
        return Mrl(every, "as published")
    if checkpoint.modules == PLAIN and checkpoint.geometry.is_causal:
        return Mrl(every, "assumed, as in Qwen3-Embedding", is_assumed=True)
    return Mrl(FIXED, "assumed, because pooling or modules are not those of Qwen3-Embedding", is_assumed=True)


def _from_config(config: dict[str, Any], *, full: int) -> Mrl | None:
    sizes = config.get("matryoshka_dimensions")
    if sizes:
        if max(sizes) > full:
            raise ExportError(
                f"config.json has matryoshka_dimensions = {sizes!r}, but the model's vectors, after its last module, "
                f"have {full} numbers; name the sizes it was trained for with --dimensions, such as fixed"
            )
        return Mrl(size_list(sizes, full=full), "config.json has matryoshka_dimensions")
    stated = config.get("is_matryoshka")
    if stated is None:
        return None
    return Mrl(
        size_range(LEAST, full) if stated else FIXED, f"config.json has is_matryoshka = {str(bool(stated)).lower()}"
    )


def _from_card(folder: Path, full: int) -> Mrl | None:
    path = folder / CARD
    text = path.read_text("utf-8", errors="replace") if path.is_file() else ""
    front = _FRONT_MATTER.match(text)
    losses = _LOSS.findall(front[1]) if front else []
    if not losses:
        return None
    if not any("Matryoshka" in loss for loss in losses):
        return Mrl(FIXED, f"{CARD} says that it was trained with {' and '.join(losses)}")
    # With several data sets there are several losses; a size is good for all if each of them trained it.
    trained = [{int(size) for size in sizes.replace(",", " ").split()} for sizes in _CARD_SIZES.findall(text)]
    sizes = [size for size in set.intersection(*trained) if size <= full] if trained else []
    return Mrl(size_list(sizes, full=full), f"{CARD} names the sizes of MatryoshkaLoss") if sizes else None
