"""Arithmetic on vectors: checking, cutting to fewer dimensions, similarity.

Pure functions on numpy arrays. This module knows nothing about texts or requests.
"""

import operator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .contract import ModelInfo
from .errors import ContractMismatchError, InferenceError, InvalidInputError


def checked_dimensions(dimensions: int | None, *, info: ModelInfo) -> int:
    """Return the length of the vectors to return, after checking it.

    Args:
        dimensions: the length that the caller asked for; None for the model's.
        info: the model.

    Raises:
        InvalidInputError: `dimensions` is not an integer, or the model's vectors may not be cut to it.
    """
    if dimensions is None:
        return info.dimensions
    try:
        wanted = operator.index(dimensions)
    except TypeError:
        raise InvalidInputError(f"dimensions must be a whole number, not {dimensions!r}") from None
    info.check_dimensions(wanted)
    return wanted


def checked_row(output: NDArray[np.float32], row: int, *, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return one row of a tensor of the server's answer, after checking it.

    Args:
        output: float32 `[b, width]`, as the server sent it.
        row: index of the row, from 0 to b - 1.
        shape: the shape that the tensor must have, b and width.

    Returns:
        float32 `[width]`, a copy that the caller owns.

    Raises:
        ContractMismatchError: the tensor has another shape or type.
        InferenceError: a number is not finite.
    """
    if output.shape != shape or output.dtype != np.float32:
        raise ContractMismatchError(
            f"the server sent {output.dtype} {list(output.shape)} where its config says float32 {list(shape)}"
        )
    numbers: NDArray[np.float32] = output[row].copy()
    if not np.isfinite(numbers).all():
        # The graph returns NaN for a text that fails admission; the other texts of the batch are not affected.
        raise InferenceError(
            "the server's answer is not finite: the model did not admit this text (empty, over max_tokens, or a "
            "token id outside its vocabulary; is the tokenizer the right one?), or its arithmetic overflowed"
        )
    return numbers


def cut(vector: NDArray[np.float32], *, dimensions: int | None, is_normalized: bool = True) -> NDArray[np.float32]:
    """Cut a vector to its first components, and normalise it again if it was a unit vector.

    This is how Matryoshka (MRL) embeddings are shortened: https://arxiv.org/abs/2205.13147.

    Args:
        vector: float32 `[full]`.
        dimensions: components to keep, at most `full`; None for all.
        is_normalized: whether the vectors of the model have unit norm.

    Returns:
        float32 `[dimensions]`, with unit norm if the model's vectors have that; with all components kept, `vector`
        itself, bit for bit.

    Raises:
        InferenceError: the components that remain are all zero.
    """
    if dimensions in (None, len(vector)):
        return vector
    if not is_normalized:
        return vector[:dimensions].copy()
    # In float64, because the squares of small numbers would underflow in float32.
    head = vector[:dimensions].astype(np.float64)
    norm = np.linalg.norm(head)
    if norm == 0.0:
        raise InferenceError(f"the vector's first {dimensions} components are all zero; ask for more dimensions")
    short: NDArray[np.float32] = (head / norm).astype(np.float32)
    return short


def similarity(a: ArrayLike, b: ArrayLike) -> NDArray[np.float32]:
    """Return the similarity of every vector in `a` with every vector in `b`.

    It is the dot product. For unit vectors, such as those of the client, that is the cosine.

    Args:
        a: `[d]` or `[n, d]`.
        b: `[d]` or `[m, d]`, with the same d.

    Returns:
        float32 `[n, m]`; a single vector counts as n or m = 1.

    Raises:
        InvalidInputError: the shapes do not fit.
    """
    left, right = (np.asarray(side, dtype=np.float32) for side in (a, b))
    if left.ndim not in (1, 2) or right.ndim not in (1, 2) or left.shape[-1] != right.shape[-1]:
        raise InvalidInputError(
            f"similarity takes vectors of one length, [d] or [n, d], not {list(left.shape)} and "
            f"{list(right.shape)}; encode both sides with the same dimensions="
        )
    scores: NDArray[np.float32] = np.atleast_2d(left) @ np.atleast_2d(right).T
    return scores
