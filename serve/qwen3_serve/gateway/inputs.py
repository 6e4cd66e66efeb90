"""A request's texts and token ids, checked before anything is sent. Pure functions; nothing here asks a server."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from qwen3_client import ModelInfo, RerankerInfo

from .errors import Failure

__all__ = ["TokenIds", "Truncate", "check_dimensions", "checked_texts", "no_model", "row_of", "too_long"]

TokenIds = NDArray[np.int64]
Truncate = Literal[False, "start", "end"]

_MIN_DIMENSIONS = 32  # the smallest cut that the model cards of Qwen3-Embedding allow


def row_of(ids: Sequence[int], *, info: ModelInfo, truncate: Truncate, index: int) -> TokenIds:
    """Makes what the model reads of a text's token ids: cut if need be, and the end-of-text token after them.

    Args:
        ids: with the end-of-text token or without.
        info: what the model says about itself.
        truncate: which part too many ids lose; False to refuse them.
        index: position of the text in the request.

    Raises:
        Failure: there are none, or too many.
    """
    if not ids:
        raise Failure("empty", f"text {index} has no token ids", param="input")
    body = list(ids[:-1] if ids[-1] == info.eos_token_id else ids)
    room = info.max_tokens - 1
    if len(body) > room:
        if truncate is False:
            raise too_long(index, noun="text", info=info)
        body = body[-room:] if truncate == "start" else body[:room]
    return np.array([*body, info.eos_token_id], dtype=np.int64)


def checked_texts(texts: Sequence[object], *, noun: str) -> list[str]:
    """Returns texts as a list, once each is known to be one and not empty.

    Args:
        texts: as the request has them.
        noun: what the request calls one.

    Raises:
        Failure: one is no text, or empty.
    """
    checked = []
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise Failure("invalid", f"{noun} {index} is no string")
        if not text:
            raise Failure("empty", f"{noun} {index} is empty: leave it out")
        checked.append(text)
    return checked


def check_dimensions(dimensions: int | None, *, full: int) -> None:
    """Refuses a length of vectors that the model does not give.

    Raises:
        Failure: it is not from 32 to `full`.
    """
    if dimensions is not None and not _MIN_DIMENSIONS <= dimensions <= full:
        raise Failure(
            "invalid",
            f"dimensions must be from {_MIN_DIMENSIONS} to {full} for this model",
            param="dimensions",
        )


def no_model(name: str, *, known: Sequence[str]) -> Failure:
    """Says that the gateway serves no model of this name.

    Args:
        name: as the request has it.
        known: names that would do.
    """
    return Failure("no_model", f"there is no model {name[:128]!r} here, only {', '.join(known)}", param="model")


def too_long(index: int, *, noun: str, info: ModelInfo | RerankerInfo) -> Failure:
    """Says that a text is too long for the model."""
    return Failure(
        "too_long",
        f"{noun} {index} is longer than the {info.max_tokens} tokens that the model takes; shorten it, split it, or "
        "let the request truncate it",
    )
