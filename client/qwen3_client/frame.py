"""The frame of a text: what the model reads before and after it.

A frame consists of parts, because the tokenizer treats them differently. The model's own parts may hold special tokens,
such as `<|im_end|>`; in what the caller gives, these are plain text. This module knows nothing about models.
"""

from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple


class Part(NamedTuple):
    """One part of a frame.

    Attributes:
        text: the text.
        role: `template` for a part that belongs to the model; `instruction` for what the caller gives and is never cut;
            `query` for the query of a pair, which is cut if it leaves the document no room.
    """

    text: str
    role: Literal["template", "instruction", "query"]


@dataclass(frozen=True, slots=True)
class Frame:
    """What the model reads around a text.

    Attributes:
        before: the parts before the text, in order.
        after: the parts after it.
    """

    before: tuple[Part, ...] = ()
    after: tuple[Part, ...] = ()

    @property
    def query(self) -> str | None:
        """The query of a pair; None in the frame of a text by itself."""
        return next((part.text for part in (*self.before, *self.after) if part.role == "query"), None)

    def with_texts(self, **texts: str) -> "Frame":
        """Return the same frame with other texts in the parts of some roles.

        Args:
            texts: the new text of each part by its role.
        """
        return replace(
            self,
            before=tuple(part._replace(text=texts.get(part.role, part.text)) for part in self.before),
            after=tuple(part._replace(text=texts.get(part.role, part.text)) for part in self.after),
        )


NO_FRAME: Final = Frame()


class Prompt(NamedTuple):
    """All that the model reads for one text: the text and its frame."""

    text: str
    frame: Frame = NO_FRAME
