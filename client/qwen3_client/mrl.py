"""The sizes to which the vectors of a model may be cut, as its parameter `mrl_dimensions` states them.

Training for it is called MRL (Matryoshka representation learning). This module knows nothing about vectors.
"""

import re
from dataclasses import dataclass

from .errors import InvalidInputError

MIN_DIMENSIONS = 32  # the fewest dimensions that the model cards of Qwen3-Embedding allow


@dataclass(frozen=True, slots=True, kw_only=True)
class MrlSizes:
    """The sizes to which vectors may be cut, besides the model's own.

    Attributes:
        full: length of the model's vectors.
        sizes: the sizes, ascending; none if the vectors have one size.
    """

    full: int
    sizes: "range | tuple[int, ...]"

    @classmethod
    def parse(cls, text: str | None, *, full: int) -> "MrlSizes | None":
        """Read the parameter.

        Args:
            text: `fixed`, a range such as "32-1024", or a list such as "256,512,1024"; None for a model that does not
                state it, which is trained for every size from 32 on.
            full: length of the model's vectors.

        Returns:
            None if the text is none of these.
        """
        if text is None:
            return cls(full=full, sizes=range(MIN_DIMENSIONS, full + 1))
        if text == "fixed":
            return cls(full=full, sizes=())
        if ends := re.fullmatch(r"(\d{1,9})-(\d{1,9})", text):
            return cls(full=full, sizes=range(int(ends[1]), int(ends[2]) + 1))
        if re.fullmatch(r"\d{1,9}(,\d{1,9})*", text):
            return cls(full=full, sizes=tuple(sorted({*map(int, text.split(",")), full})))
        return None

    def check(self, dimensions: int, *, option: str = "dimensions") -> None:
        """Make sure that vectors may be cut to a size.

        Args:
            dimensions: the size.
            option: what the caller calls it.

        Raises:
            InvalidInputError: they may not; the message says to which they may.
        """
        if dimensions == self.full or dimensions in self.sizes:
            return
        if not self.sizes:
            raise InvalidInputError(
                f"{option} must be {self.full} or left out, not {dimensions}: this model's vectors have a fixed size, "
                "because nothing says that its checkpoint was trained to have them cut (MRL); if it was, export it "
                "again with --dimensions"
            )
        if isinstance(self.sizes, range):
            whole = "" if self.full in self.sizes else f", or {self.full}"
            raise InvalidInputError(
                f"{option} must be from {self.sizes[0]} to {self.sizes[-1]}{whole}, not {dimensions}"
            )
        *others, last = self.sizes
        raise InvalidInputError(
            f"{option} must be {', '.join(map(str, others))} or {last}, the sizes that this model was trained for "
            f"(MRL), not {dimensions}"
        )
