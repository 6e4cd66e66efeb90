"""Token ids of several texts: whether a model accepts them, and which of them share a request.

Pure functions. This module knows nothing about tokenizers or requests.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .contract import ServedInfo
from .errors import InvalidInputError, TextTooLongError

# The most tokens in a request of several texts. Larger requests are not cheaper per text, and a text waits for fewer
# others in a small one.
_TOKENS_TOGETHER = 512


def by_length(lengths: Sequence[int], *, most: int) -> list[list[int]]:
    """Group texts of equal length: a request `[b, n]` costs client and server little more than one of a single text.

    Args:
        lengths: number of tokens of each text, at least 1.
        most: maximum number of texts in one request.

    Returns:
        For each request the indices of its texts, ascending. Requests are in the order of their first texts.
    """
    found: list[list[int]] = []
    open_request: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        request = open_request.get(length)
        if request is None or len(request) >= min(most, max(_TOKENS_TOGETHER // length, 1)):
            open_request[length] = request = []
            found.append(request)
        request.append(index)
    return found


def check_ids(rows: Sequence[NDArray[np.int64]], info: ServedInfo, *, noun: str) -> None:
    """Check that a model accepts token ids.

    Args:
        rows: token ids, int64 `[n]` for each text.
        info: what the model says about itself.
        noun: what to call each of the texts in an error.

    Raises:
        InvalidInputError: an id is outside the model's vocabulary.
        TextTooLongError: a text has more tokens than the model takes.
    """
    for index, row in enumerate(rows):
        if row.min() < 0 or row.max() >= info.vocabulary:
            raise InvalidInputError(
                f"token ids must be from 0 to {info.vocabulary - 1}; are they from the model's own tokenizer?",
                index=index,
                noun=noun,
            )
        if row.size > info.max_tokens:
            raise TextTooLongError(
                f"{row.size} tokens, but the model takes {info.max_tokens}; send fewer", index=index, noun=noun
            )
