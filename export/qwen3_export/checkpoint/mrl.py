"""The sizes to which an embedding model's vectors may be cut.

Training for it is called MRL (Matryoshka representation learning). Qwen3-Embedding is trained for all sizes from 32 to
the hidden size. Knows nothing about checkpoints: `trained_sizes` finds what one says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import ExportError

FIXED = "fixed"
LEAST = 32  # the fewest dimensions on Qwen3-Embedding's model cards; clients ask for no fewer, whatever the model


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


def parse_sizes(text: str, *, full: int) -> str:
    """Read the sizes that a user gives, for vectors of `full` numbers.

    Raises:
        ExportError: They are not understood, or the model does not have them.
    """
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
    return size_range(*sizes) if ends else size_list(sizes, full=full)


def size_range(least: int, most: int) -> str:
    """Return all sizes from the least to the most."""
    return f"{least}-{most}" if least < most else FIXED


def size_list(sizes: Iterable[int], *, full: int) -> str:
    """Return those sizes that vectors of `full` numbers can be cut to, and `full`."""
    kept = sorted({size for size in sizes if LEAST <= size < full})
    return ",".join(map(str, [*kept, full])) if kept else FIXED
