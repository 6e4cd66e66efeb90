"""Vectors as NIM's `embedding_type`s, which are the client's dtypes: the same name means the same bytes.

`int8`, `uint8`, `binary` and `ubinary` are what `qwen3_client.quantize` makes of the float vectors, so that vectors
from the gateway can be compared with those of the client and of `qwen3-triton embed --dtype`. int8 and uint8 divide the
range of each dimension into 256 levels. These ranges come from the documents of an index, so the operator has to name
the calibration; without one, the gateway refuses both types.
"""

import os
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from qwen3_client import Calibration, InvalidInputError, quantize

from .errors import ApiError
from .settings import SettingsError

EmbeddingType = Literal["float", "int8", "uint8", "binary", "ubinary"]


def load_calibration(path: str | None) -> Calibration | None:
    """Read the calibration of an index, as `Calibration.save` and `qwen3-triton embed --dtype int8` write it.

    Args:
        path: The .npz file; None for no calibration.

    Raises:
        SettingsError: The file cannot be read, or is no calibration.
    """
    if path is None:
        return None
    try:
        return Calibration.load(path)
    except OSError as error:
        raise SettingsError(f"cannot read the calibration {path}: {os.strerror(error.errno or 0)}") from error
    except InvalidInputError as error:
        raise SettingsError(f"cannot use the calibration: {error}") from error


def check_type(kind: EmbeddingType, *, dimensions: int, calibration: Calibration | None) -> None:
    """Refuse a type that vectors of this length cannot have, before they are computed.

    Raises:
        ApiError: Bits are asked for and `dimensions` is no multiple of 8, or 8-bit numbers and there is no calibration
            for vectors of this length.
    """
    if kind in ("binary", "ubinary") and dimensions % 8:
        raise ApiError(
            "invalid",
            f"{kind} packs eight numbers into a byte: {dimensions} dimensions are no multiple of 8",
            param="dimensions",
        )
    if kind not in ("int8", "uint8"):
        return
    if calibration is None:
        raise ApiError(
            "invalid",
            f"this gateway gives no {kind} vectors, because it was started without --calibration, the value ranges of "
            "the index; ask for float, binary or ubinary",
            param="embedding_type",
        )
    if calibration.dimensions != dimensions:
        raise ApiError(
            "invalid",
            f"this gateway gives {kind} vectors of {calibration.dimensions} dimensions only, which its calibration is "
            f"for, and not of {dimensions}",
            param="dimensions",
        )


def to_type(vectors: NDArray[np.float32], kind: EmbeddingType, *, calibration: Calibration | None) -> NDArray[Any]:
    """Return vectors as a type that `check_type` allows.

    Args:
        vectors: FP32 `[n, d]`, unit norm.
        kind: The type of their numbers.
        calibration: The ranges of the dimensions, for int8 and uint8.

    Returns:
        For float, the vectors themselves; for int8 and uint8 an array of that dtype `[n, d]`; for binary INT8 and for
        ubinary UINT8 `[n, d / 8]`.
    """
    return vectors if kind == "float" else quantize(vectors, kind, calibration=calibration)
