"""What counts as a text, checked before anything is tokenized or sent.

Everything that is valid Unicode and not empty is accepted: NUL, emoji, any length. This module knows nothing
about tokens.
"""

from collections.abc import Iterable, Mapping, Set

from ._errors import InvalidInputError

__all__ = ["as_list", "checked_text"]


def checked_text(text: object, *, index: int | None = None, what: str = "a text") -> str:
    """Returns `text`, once it is known to be one.

    Args:
        text: what the caller gave.
        index: its position among the texts of the call, for the error.
        what: its name in the error.

    Raises:
        InvalidInputError: it is not a string, is empty, or holds a lone surrogate.
    """
    if not isinstance(text, str):
        raise InvalidInputError(f"{what} must be a str, not {type(text).__name__}", index=index)
    if not text:
        raise InvalidInputError(f"{what} must not be empty: leave it out", index=index)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidInputError(
                f"{what} holds a lone surrogate (U+{ord(text[error.start]):04X} at character {error.start}), "
                "which is not Unicode: decode the source with its real encoding, or with errors='replace'",
                index=index,
            ) from None
    return text


def as_list(texts: object) -> list[str]:
    """Returns a sequence of texts as a list, every one of them checked.

    Raises:
        InvalidInputError: `texts` has no order or is no sequence, or one of its texts is not a text.
    """
    if isinstance(texts, bytes | bytearray | Mapping | Set) or not isinstance(texts, Iterable):
        raise InvalidInputError(f"texts must be a str or a sequence of str, not {type(texts).__name__}")
    return [checked_text(text, index=index) for index, text in enumerate(texts)]
