"""Checks of a request's token ids and options before anything is sent. Pure functions; nothing here asks a server.

Texts themselves are checked by `qwen3_client`, which tokenizes them.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from qwen3_client import InvalidInputError, ModelInfo, RerankerInfo

from .errors import ApiError

TokenIds = NDArray[np.int64]
Truncate = Literal[False, "start", "end"]


def token_ids(
    ids: Sequence[int], *, info: ModelInfo, truncate: Truncate, index: int, append_end_token: bool = False
) -> TokenIds:
    """Make the model's input from the token ids of a text: truncated if need be, with one end-of-text token last.

    Clients that tokenize with another model's vocabulary send ids that are valid here and mean other texts. Only the
    end-of-text token tells them apart: this model's tokenizer appends it to every text, and others do not.

    Args:
        ids: Made by this model's tokenizer.
        info: What the model says about itself.
        truncate: Which end too many ids lose; False to refuse them.
        index: Index of the text in the request.
        append_end_token: Whether to take ids without the end-of-text token, and append it.

    Returns:
        INT64 `[n]`, with n at most `info.max_tokens`.

    Raises:
        ApiError: There are no ids, too many, one is outside the vocabulary, or the last is not the end-of-text token.
    """
    if not ids:
        raise ApiError("empty", f"text {index} has no token ids", param="input")
    check_ids(ids, info=info, index=index)
    if ids[-1] != info.eos_token_id and not append_end_token:
        raise ApiError(
            "invalid",
            f"text {index}: the token ids do not end in {info.eos_token_id}, so they are probably those of another "
            "model's tokenizer, which mean other texts here. Send texts instead of token ids (in LangChain's "
            "OpenAIEmbeddings, set check_embedding_ctx_length=False). If the ids are this model's, end each text with "
            "that id, or start the gateway with --append-end-token",
            param="input",
        )
    body = list(ids[:-1] if ids[-1] == info.eos_token_id else ids)
    max_body = info.max_tokens - 1
    if len(body) > max_body:
        if truncate is False:
            raise text_too_long(index, noun="text", info=info)
        body = body[-max_body:] if truncate == "start" else body[:max_body]
    return np.array([*body, info.eos_token_id], dtype=np.int64)


def check_ids(ids: Sequence[int], *, info: ModelInfo, index: int) -> None:
    """Refuse token ids that the vocabulary does not have.

    Raises:
        ApiError: There is one.
    """
    if ids and (min(ids) < 0 or max(ids) >= info.vocabulary):
        raise ApiError(
            "invalid",
            f"text {index}: token ids must be from 0 to {info.vocabulary - 1}; are they from this model's tokenizer?",
            param="input",
        )


def cut(row: TokenIds, *, max_tokens: int, truncate: Truncate, index: int, noun: str) -> TokenIds:
    """Cut a text to fewer tokens than the model takes; the end-of-text token stays.

    Args:
        row: INT64 `[n]`, the end-of-text token last.
        max_tokens: Most tokens of the text, with that one.
        truncate: Which end a text that is too long loses; False to refuse it.
        index: Index of the text in the request.
        noun: What the request calls a text.

    Returns:
        INT64 `[n]`, with n at most `max_tokens`.

    Raises:
        ApiError: The text is too long, and `truncate` is False.
    """
    if len(row) <= max_tokens:
        return row
    if truncate is False:
        raise ApiError("too_long", f"{noun} {index} is longer than the {max_tokens} tokens that the request allows")
    kept = max_tokens - 1
    body = row[:-1]
    return np.concatenate([body[len(body) - kept :] if truncate == "start" else body[:kept], row[-1:]])


def check_dimensions(dimensions: int | None, *, info: ModelInfo) -> None:
    """Refuse a number of dimensions to which the model's vectors may not be cut.

    Raises:
        ApiError: It is such a number.
    """
    try:
        if dimensions is not None:
            info.check_dimensions(dimensions)
    except InvalidInputError as error:
        raise ApiError("invalid", str(error), param="dimensions") from None


def empty_text(index: int | None, *, noun: str) -> ApiError:
    """Make the error for an empty text; `noun` is what the request calls a text."""
    return ApiError("empty", f"{noun} {index} is empty: leave it out")


def text_too_long(index: int | None, *, noun: str, info: ModelInfo | RerankerInfo) -> ApiError:
    """Make the error for a text that is too long for the model; `noun` is what the request calls a text."""
    return ApiError(
        "too_long",
        f"{noun} {index} is longer than the {info.max_tokens} tokens that the model takes; shorten it, split it, or "
        "let the request truncate it",
    )


def unknown_model(name: str, *, known: Sequence[str]) -> ApiError:
    """Make the error for a model name that this gateway does not serve.

    Args:
        name: As the request has it.
        known: Names that the request could have used.
    """
    return ApiError("no_model", f"there is no model {name[:128]!r} here, only {', '.join(known)}", param="model")
