"""The sizes to which an embedding model's vectors may be cut, and what says so.

Training for it is called MRL (Matryoshka representation learning). Qwen3-Embedding is trained for all sizes from 32 to
the hidden size. Other checkpoints say it in one of two places, or not at all:

- config.json: `matryoshka_dimensions`, a list, or `is_matryoshka`, which vLLM reads too;
- the model card that sentence-transformers writes after training: it lists the losses, and the sizes of MatryoshkaLoss.

Knows nothing about graphs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ExportError
from .json_file import read_object
from .modules import PLAIN

if TYPE_CHECKING:
    from .checkpoint import Checkpoint

FIXED = "fixed"
LEAST = 32  # the fewest dimensions on Qwen3-Embedding's model cards; clients ask for no fewer, whatever the model
CARD = "README.md"

_PUBLISHED = re.compile(r"tiny|Qwen/Qwen3-Embedding-[\w.-]+")
_FRONT_MATTER = re.compile(r"---\n(.*?)\n---\n", re.DOTALL)
_LOSS = re.compile(r"^- loss:(\w+)\s*$", re.MULTILINE)
_CARD_SIZES = re.compile(r'"matryoshka_dims":\s*\[([\d,\s]+)\]')


@dataclass(frozen=True, slots=True)
class Mrl:
    """The sizes to which vectors may be cut.

    Attributes:
        sizes: `fixed`, a range such as `32-1024`, or a list such as `256,512,1024`. The model's own size is always
            allowed.
        reason: What says so, as a phrase that can stand in parentheses.
        is_assumed: Whether nothing says so.
    """

    sizes: str
    reason: str
    is_assumed: bool = False

    def parameters(self, *, full: int) -> dict[str, str]:
        """Return the parameter of the model's configuration; none for what clients take without it.

        Args:
            full: The size of the model's vectors.
        """
        # Vectors of 32 numbers or fewer have one size anyway.
        return {} if full <= LEAST or self.sizes == f"{LEAST}-{full}" else {"mrl_dimensions": self.sizes}

    def note(self) -> str | None:
        """Return a sentence for the user if the sizes are an assumption."""
        if not self.is_assumed:
            return None
        if self.sizes == FIXED:
            return (
                "the checkpoint does not say that its vectors may be cut, so clients refuse `dimensions`; if its model "
                "card names sizes (MRL), give them: --dimensions 256,512, or a range"
            )
        return (
            f"the checkpoint does not say to which sizes its vectors may be cut; {self.sizes} as in Qwen3-Embedding is "
            "assumed. --dimensions states it, and --dimensions fixed makes clients refuse other sizes"
        )


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
        return Mrl(_parsed(asked, full=full), "from --dimensions")
    config = read_object(checkpoint.folder / "config.json")
    stated = _from_config(config, full=full) or next(
        (found for folder in (checkpoint.adapter, checkpoint.folder) if folder and (found := _from_card(folder, full))),
        None,
    )
    if stated is not None:
        return stated
    every = _range(LEAST, full)
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
        return Mrl(_listed(sizes, full=full), "config.json has matryoshka_dimensions")
    stated = config.get("is_matryoshka")
    if stated is None:
        return None
    return Mrl(_range(LEAST, full) if stated else FIXED, f"config.json has is_matryoshka = {str(bool(stated)).lower()}")


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
    return Mrl(_listed(sizes, full=full), f"{CARD} names the sizes of MatryoshkaLoss") if sizes else None


def _parsed(text: str, *, full: int) -> str:
    if text == FIXED:
        return FIXED
    ends = re.fullmatch(r"(\d{1,6})-(\d{1,6})", text)
    sizes = [int(end) for end in ends.groups()] if ends else []
    if not ends and re.fullmatch(r"\d{1,6}(,\d{1,6})*", text):
        sizes = [int(size) for size in text.split(",")]
    if not sizes:
        raise ExportError(f"--dimensions {text} is not understood; give fixed, {LEAST}-{full}, or a list: 256,512")
    if min(sizes) < LEAST or max(sizes) > full or (ends and sizes[0] > sizes[1]):
        raise ExportError(f"--dimensions {text} does not fit: this model's vectors can have {LEAST} to {full}")
    return _range(*sizes) if ends else _listed(sizes, full=full)


def _range(least: int, most: int) -> str:
    return f"{least}-{most}" if least < most else FIXED


def _listed(sizes: Iterable[int], *, full: int) -> str:
    kept = sorted({size for size in sizes if LEAST <= size < full})
    return ",".join(map(str, [*kept, full])) if kept else FIXED
