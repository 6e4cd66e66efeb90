"""What counts as a text, and as a sequence of texts, checked before anything is tokenized or sent.

Everything that is valid Unicode and not empty is accepted: NUL, emoji, any length. This module knows nothing
about tokens.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Literal, TypeAlias, TypeGuard

from ._errors import EmptyTextError, InvalidInputError, about

__all__ = ["Truncate", "as_documents", "as_list", "as_pairs", "checked_text", "checked_truncate"]

Truncate: TypeAlias = bool | Literal["start", "end"]  # True means "end"


def checked_text(text: object, *, what: str = "a text") -> str:
    """Returns `text`, once it is known to be one.

    Args:
        text: what the caller gave.
        what: its name in the error.

    Raises:
        EmptyTextError: it is empty.
        InvalidInputError: it is not a string, or holds a lone surrogate.
    """
    if not isinstance(text, str):
        raise InvalidInputError(f"{what} must be a str, not {type(text).__name__}")
    if not text:
        raise EmptyTextError(f"{what} must not be empty: leave it out")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidInputError(
                f"{what} holds a lone surrogate (U+{ord(text[error.start]):04X} at character {error.start}), "
                "which is not Unicode: decode the source with its real encoding, or with errors='replace'"
            ) from None
    return text


def checked_truncate(truncate: Truncate) -> Truncate:
    """Returns which part a text that is too long shall lose.

    Raises:
        InvalidInputError: it is none of the four values.
    """
    if truncate not in (True, False, "start", "end"):
        raise InvalidInputError(f"truncate must be True, False, 'start' or 'end', not {truncate!r}")
    return truncate


def as_list(texts: object, *, first_index: int = 0) -> list[str]:
    """Returns a sequence of texts as a list, every one of them checked.

    Args:
        texts: what the caller gave.
        first_index: position of the first of them in the caller's call, for errors.

    Raises:
        InvalidInputError: `texts` has no order or is no sequence, or one of its texts is not a text.
    """
    if not _has_order(texts):
        raise InvalidInputError(f"texts must be a str or a sequence of str, not {type(texts).__name__}")
    return _checked(texts, noun="text", first_index=first_index)


def as_documents(documents: object) -> list[str]:
    """Returns a sequence of documents as a list, every one of them checked.

    Raises:
        InvalidInputError: `documents` has no order or is no sequence, or one of them is not a text.
    """
    if isinstance(documents, str) or not _has_order(documents):
        raise InvalidInputError(f"documents must be a sequence of str, not {type(documents).__name__}")
    return _checked(documents, noun="document")


def as_pairs(pairs: object) -> list[tuple[str, str]]:
    """Returns a sequence of (query, document) as a list, every text in it checked.

    Raises:
        InvalidInputError: `pairs` has no order or is no sequence, or one of them is not a pair of texts.
    """
    if isinstance(pairs, str) or not _has_order(pairs):
        raise InvalidInputError(f"pairs must be a sequence of (query, document), not {type(pairs).__name__}")
    checked = []
    for index, pair in enumerate(pairs):
        with about("pair", index):
            # A str of two characters would come apart too.
            if not isinstance(pair, Sequence) or isinstance(pair, str | bytes) or len(pair) != 2:
                raise InvalidInputError(f"must be (query, document), not {_shown(pair)}")
            query, document = pair
            checked.append((checked_text(query, what="the query"), checked_text(document, what="the document")))
    return checked


def _has_order(items: object) -> TypeGuard[Iterable[object]]:
    return isinstance(items, Iterable) and not isinstance(items, bytes | bytearray | Mapping | Set)


def _checked(texts: Iterable[object], *, noun: str, first_index: int = 0) -> list[str]:
    checked = []
    for index, text in enumerate(texts, start=first_index):
        with about(noun, index):
            checked.append(checked_text(text, what=f"a {noun}"))
    return checked


def _shown(value: object) -> str:
    kind = type(value).__name__
    return f"a {kind} of {len(value)}" if isinstance(value, list | tuple) else f"a {kind}"
