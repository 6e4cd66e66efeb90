"""Checks of the texts, pairs and token ids that callers pass, before anything is tokenized or sent.

Every text that is valid Unicode and not empty is accepted, of any length, including NUL and emoji. This module knows
nothing about models and their limits.
"""

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence, Set
from typing import TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import EmptyTextError, InvalidInputError


def checked_text(text: object, *, what: str = "a text", noun: str = "text", index: int | None = None) -> str:
    """Return `text`, after checking it.

    Args:
        text: what the caller passed.
        what: what to call it in an error.
        noun: what `index` counts.
        index: its index in the call; None if it is the only one.

    Raises:
        EmptyTextError: it is empty.
        InvalidInputError: it is not a string, or holds a lone surrogate.
    """
    if not isinstance(text, str):
        raise InvalidInputError(f"{what} must be a str, not {type(text).__name__}", index=index, noun=noun)
    if not text:
        raise EmptyTextError(f"{what} must not be empty: leave it out", index=index, noun=noun)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidInputError(
                f"{what} holds a lone surrogate (U+{ord(text[error.start]):04X} at character {error.start}), "
                "which is not Unicode: decode the source with its real encoding, or with errors='replace'",
                index=index,
                noun=noun,
            ) from None
    return text


def as_texts(texts: object) -> list[str]:
    """Return a text, or a sequence of texts, as a list, after checking each text.

    Raises:
        InvalidInputError: `texts` is not an ordered sequence, or an item of it is not a text.
    """
    if isinstance(texts, str):
        texts = [texts]
    if not _has_order(texts):
        raise InvalidInputError(f"texts must be a str or a sequence of str, not {type(texts).__name__}")
    return [checked_text(text, index=index) for index, text in enumerate(texts)]


def as_several_texts(texts: object) -> list[str]:
    """Return a sequence of texts as a list, after checking each text.

    Raises:
        InvalidInputError: `texts` is one text or no ordered sequence, or an item of it is not a text.
    """
    refuse_one_text(texts, "texts must be a sequence of str, not one str: put it into a list")
    return as_texts(texts)


def refuse_one_text(texts: object, message: str) -> None:
    """Refuse a text where several are expected, because a str is a sequence of str too.

    Raises:
        InvalidInputError: `texts` is a str.
    """
    if isinstance(texts, str):
        raise InvalidInputError(message)


async def in_groups(texts: Iterable[str] | AsyncIterable[str], *, size: int) -> AsyncIterator[list[str]]:
    """Yield checked texts in groups of `size`. The last group may be smaller."""
    group: list[str] = []
    index = 0
    async for text in _each(texts):
        group.append(checked_text(text, index=index))
        index += 1
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


async def _each(texts: Iterable[str] | AsyncIterable[str]) -> AsyncIterator[str]:
    if isinstance(texts, AsyncIterable):
        async for text in texts:
            yield text
    else:
        for text in texts:
            yield text


def as_documents(documents: object) -> list[str]:
    """Return a sequence of documents as a list, after checking each document.

    Raises:
        InvalidInputError: `documents` is not an ordered sequence, or an item of it is not a text.
    """
    if isinstance(documents, str) or not _has_order(documents):
        raise InvalidInputError(f"documents must be a sequence of str, not {type(documents).__name__}")
    return [checked_text(text, what="a document", noun="document", index=index) for index, text in enumerate(documents)]


def as_pairs(pairs: object) -> list[tuple[str, str]]:
    """Return a sequence of (query, document) as a list, after checking each text.

    Raises:
        InvalidInputError: `pairs` is not an ordered sequence, or an item of it is not a pair of texts.
    """
    if isinstance(pairs, str) or not _has_order(pairs):
        raise InvalidInputError(f"pairs must be a sequence of (query, document), not {type(pairs).__name__}")
    checked: list[tuple[str, str]] = []
    for index, pair in enumerate(pairs):
        # A str of two characters could be unpacked too.
        if not isinstance(pair, Sequence) or isinstance(pair, str | bytes) or len(pair) != 2:
            raise InvalidInputError(f"must be (query, document), not {_shown(pair)}", index=index, noun="pair")
        query, document = pair
        checked.append(
            (
                checked_text(query, what="the query", noun="pair", index=index),
                checked_text(document, what="the document", noun="pair", index=index),
            )
        )
    return checked


def as_token_ids(input_ids: Iterable[ArrayLike], *, noun: str) -> list[NDArray[np.int64]]:
    """Return token ids as arrays, int64 `[n]` for each text, after checking them.

    Args:
        input_ids: integers `[n]` for each text.
        noun: what to call each of the texts in an error.

    Raises:
        InvalidInputError: the ids of a text are not a flat sequence of integers, or there are none.
    """
    if isinstance(input_ids, str) or not _has_order(input_ids):
        raise InvalidInputError(f"token ids must be a sequence for each {noun}, not {type(input_ids).__name__}")
    rows: list[NDArray[np.int64]] = []
    for index, ids in enumerate(input_ids):
        try:
            row = np.asarray(ids)
        except ValueError as error:
            raise InvalidInputError(
                f"token ids must be a flat sequence of whole numbers: {error}", index=index, noun=noun
            ) from None
        if row.ndim != 1 or row.size == 0 or row.dtype.kind not in "iu" or row.max() > np.iinfo(np.int64).max:
            raise InvalidInputError(
                f"token ids must be a flat sequence of whole numbers that is not empty, not {row.dtype} "
                f"{list(row.shape)}",
                index=index,
                noun=noun,
            )
        rows.append(row.astype(np.int64))
    return rows


def _has_order(items: object) -> TypeGuard[Iterable[object]]:
    return isinstance(items, Iterable) and not isinstance(items, bytes | bytearray | Mapping | Set)


def _shown(value: object) -> str:
    kind = type(value).__name__
    return f"a {kind} of {len(value)}" if isinstance(value, list | tuple) else f"a {kind}"
