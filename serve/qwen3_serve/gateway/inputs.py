"""Checks of a request's token ids and options before anything is sent. Pure functions; nothing here asks a server.

Texts themselves are checked by `qwen3_client`, which tokenizes them.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from qwen3_client import InvalidInputError, ModelInfo, TokenRow

from .errors import ApiError

Truncate = Literal[False, "start", "end"]


def token_ids(
    ids: Sequence[int],
    *,
    info: ModelInfo,
    truncate: Truncate,
    index: int,
    max_tokens: int | None = None,
    append_end_token: bool = False,
) -> TokenRow:
    """Make the model's input from the token ids of a text: truncated if need be, with one end-of-text token last.

    Clients that tokenize with another model's vocabulary send ids that are valid here and mean other texts. Only the
    end-of-text token tells them apart: this model's tokenizer appends it to every text, and others do not.

    Args:
        ids: Made by this model's tokenizer.
        info: What the model says about itself.
        truncate: Which end too many ids lose; False to refuse them.
        index: Index of the text in the request.
        max_tokens: Most ids of one text; None for the model's limit.
        append_end_token: Whether to take ids without the end-of-text token, and append it.

    Returns:
        INT64 `[n]`, with n at most `max_tokens`, and whether ids were cut off.

    Raises:
        ApiError: There are no ids, too many, or no room for any; one is outside the vocabulary, or the last is not the
            end-of-text token.
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
    limit = min(max_tokens or info.max_tokens, info.max_tokens)
    kept = limit - 1
    if kept < 1:
        raise ApiError("invalid", f"{limit} token leaves no room for the text before the end-of-text token: allow more")
    is_cut = len(body) > kept
    if is_cut:
        if truncate is False:
            raise text_too_long(index, noun="text", max_tokens=limit)
        body = body[-kept:] if truncate == "start" else body[:kept]
    return TokenRow(np.array([*body, info.eos_token_id], dtype=np.int64), is_cut=is_cut)


def token_rows(
    inputs: Sequence[Sequence[int]],
    *,
    info: ModelInfo,
    truncate: Truncate,
    max_tokens: int | None = None,
    append_end_token: bool = False,
) -> list[TokenRow]:
    """Make the model's input from the token ids of each of a request's texts. See `token_ids`."""
    return [
        token_ids(ids, info=info, truncate=truncate, index=i, max_tokens=max_tokens, append_end_token=append_end_token)
        for i, ids in enumerate(inputs)
    ]


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


def truncation(rows: Sequence[TokenRow], *, noun: str) -> str:
    """Return what was cut off from a request's texts, as a dictionary of structured fields (RFC 9651); "" for nothing.

    Args:
        rows: The texts, or pairs, as they are sent.
        noun: What the request calls its texts, such as `documents`, whose number is the value.

    Returns:
        Such as `query, documents=2`: `query` if a query was cut.
    """
    cut = sum(row.is_cut for row in rows)
    query = ["query"] if any(row.is_query_cut for row in rows) else []
    return ", ".join([*query, *([f"{noun}={cut}"] if cut else [])])


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


def text_too_long(index: int | None, *, noun: str, max_tokens: int) -> ApiError:
    """Make the error for a text that is too long for the model, or for the request.

    Args:
        index: Index of the text in the request.
        noun: What the request calls a text.
        max_tokens: How many tokens it may have.
    """
    return ApiError(
        "too_long",
        f"{noun} {index} is longer than the {max_tokens} tokens that the model takes, or the request allows; shorten "
        "it, split it, or let the request truncate it",
    )


def unknown_model(name: str, *, known: Sequence[str]) -> ApiError:
    """Make the error for a model name that this gateway does not serve.

    Args:
        name: As the request has it.
        known: Names that the request could have used.
    """
    return ApiError("no_model", f"there is no model {name[:128]!r} here, only {', '.join(known)}", param="model")
