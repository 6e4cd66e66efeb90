"""Vectors in NIM's `embedding_type`s.

`binary` and `ubinary` keep the sign of each number, one bit each, as `qwen3_client.quantise` does. `int8` and `uint8`
scale each vector on its own, so that its largest number becomes 127: the gateway keeps no statistics of other vectors,
a vector's numbers do not depend on which others were asked for, and the cosine of int8 vectors is that of the floats to
within rounding. `uint8` is `int8` plus 128.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from qwen3_client import quantise

__all__ = ["EmbeddingType", "as_type"]

EmbeddingType = Literal["float", "int8", "uint8", "binary", "ubinary"]

_HIGHEST = 127


def as_type(vectors: NDArray[np.float32], kind: EmbeddingType) -> NDArray[Any]:
    """Returns vectors with numbers of a type.

    Args:
        vectors: float32 `[n, d]`, unit norm.
        kind: what the numbers shall be.

    Returns:
        float32, int8 or uint8 `[n, d]`; for binary int8 and for ubinary uint8 `[n, d / 8]`.

    Raises:
        InvalidInputError: bits are wanted, and d is no multiple of 8.
    """
    if kind == "float":
        return vectors
    if kind in ("binary", "ubinary"):
        return quantise(vectors, kind)
    scale = _HIGHEST / np.abs(vectors).max(axis=1, keepdims=True)
    codes: NDArray[np.int8] = np.rint(vectors * scale).astype(np.int8)
    return codes if kind == "int8" else (codes.astype(np.int16) + 128).astype(np.uint8)
