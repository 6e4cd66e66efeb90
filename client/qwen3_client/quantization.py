"""Vectors in fewer bytes: float16, int8, uint8, and one bit per number.

    calibration = Calibration.of(documents)  # float32 [n, d], n at least 100
    codes = quantize(documents, "int8", calibration=calibration)  # int8 [n, d], a quarter of the bytes
    bits = quantize(documents, "ubinary")  # uint8 [n, d / 8], a thirty-second of them
    scores = similarity(query, dequantize(bits, "ubinary"))  # a float query against bits

The names and layouts are those of sentence-transformers' `quantize_embeddings`, which vector stores accept. There are
two differences: an 8-bit code is the nearest level, not the next lower one; and a number outside the calibrated range
is clipped to the range, and does not wrap around. Cut vectors (MRL) before you quantize them: a cut changes every
number.

Pure functions on numpy arrays. This module knows nothing about texts or models.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .durable_file import durable_file
from .errors import InvalidInputError

Dtype = Literal["float32", "float16", "int8", "uint8", "binary", "ubinary"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)

# In a given dimension, one more vector is outside the range of n vectors with probability 2 / (n + 1). With 100, one
# number in fifty is clipped. sentence-transformers warns if there are fewer than 100.
_MIN_VECTORS = 100
_STEPS = 255  # steps between the 256 levels of 8 bits
_STORED = {"float32": "float32", "float16": "float16", "int8": "int8", "uint8": "uint8"}
_PACKED = {"binary": "int8", "ubinary": "uint8"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """The range of every dimension, over which the 256 levels of int8 and uint8 are evenly spaced.

    Codes can be compared only with codes of the same calibration. So keep the calibration with the vectors, and
    quantize queries with the calibration of the documents.

    Attributes:
        low: float32 `[d]`, the lowest value of each dimension.
        high: float32 `[d]`, the highest value; where it equals `low`, every number becomes `low`.

    Raises:
        InvalidInputError: the shapes differ, `low` is above `high`, or a number is not finite.
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]

    def __post_init__(self) -> None:
        for side in ("low", "high"):
            values = np.array(getattr(self, side), dtype=np.float32)
            values.flags.writeable = False
            object.__setattr__(self, side, values)
        if self.low.ndim != 1 or self.low.shape != self.high.shape:
            raise InvalidInputError(
                f"a calibration is two vectors of one length, not {list(self.low.shape)} and {list(self.high.shape)}"
            )
        if not (np.isfinite(self.low).all() and np.isfinite(self.high).all() and (self.low <= self.high).all()):
            raise InvalidInputError("a calibration's low must be at most its high, and both finite")

    @property
    def dimensions(self) -> int:
        """The length of the vectors that the calibration is for."""
        return len(self.low)

    @classmethod
    def of(cls, vectors: ArrayLike) -> "Calibration":
        """Return the calibration with the lowest and the highest value of each dimension.

        Args:
            vectors: float `[n, d]` with n at least 100, such as a sample of the documents, cut to the same dimensions.

        Raises:
            InvalidInputError: there are fewer than 100, they have another shape, or a number is not finite.
        """
        values = _checked_vectors(vectors)
        if values.ndim != 2 or len(values) < _MIN_VECTORS:
            raise InvalidInputError(
                f"a calibration takes at least {_MIN_VECTORS} vectors, [n, d], not {list(values.shape)}: with fewer, "
                "too many numbers of other vectors would be outside its ranges"
            )
        return cls(low=values.min(axis=0), high=values.max(axis=0))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Calibration":
        """Return the calibration that `save` wrote to a file.

        Raises:
            InvalidInputError: the file does not hold a calibration.
            OSError: the file cannot be read.
        """
        try:
            arrays = np.load(path, allow_pickle=False)
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise ValueError("one array alone")
            with arrays:
                return cls(low=arrays["low"], high=arrays["high"])
        except (EOFError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, InvalidInputError):
                raise
            raise InvalidInputError(
                f"{os.fspath(path)} is not a calibration: it must be an .npz file with the arrays low and high"
            ) from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the calibration as an .npz file with the arrays `low` and `high`, which appears complete or not at all.

        Args:
            path: the file, with the suffix .npz.

        Raises:
            InvalidInputError: the suffix is another.
            OSError: the file cannot be written.
        """
        target = Path(path)
        if target.suffix != ".npz":
            raise InvalidInputError(f"cannot write {target}: the name must end in .npz")
        with durable_file(target) as file:
            np.savez(file, low=self.low, high=self.high)


def quantize(vectors: ArrayLike, dtype: Dtype, *, calibration: Calibration | None = None) -> NDArray[Any]:
    """Return vectors in fewer bytes.

    Args:
        vectors: float `[d]` or `[n, d]`.
        dtype: "float32" or "float16" for the numbers themselves; "uint8" for the nearest of the 256 levels of each
            dimension's range; "int8" for the same minus 128; "ubinary" for one bit per number, 1 if it is positive,
            eight of them in a byte, the first in the highest bit; "binary" for the same bytes minus 128, as int8.
        calibration: the ranges; needed for int8 and uint8.

    Returns:
        An array of `dtype`, `[d]` or `[n, d]`; for ubinary and binary, uint8 and int8 `[d / 8]` or `[n, d / 8]`.

    Raises:
        InvalidInputError: the dtype is unknown, d is not a multiple of 8 for binary or ubinary, the calibration is
            missing or for other dimensions, or a number is not finite.
    """
    values = _checked_vectors(vectors)
    dimensions = values.shape[-1]
    checked_dtype(dtype, dimensions=dimensions)
    if not needs_calibration(dtype):
        if dtype in _PACKED:
            packed = np.packbits(values > 0, axis=-1)
            # Flipping the highest bit of a byte and reading it as int8 subtracts 128.
            return (packed ^ np.uint8(0x80)).view(np.int8) if dtype == "binary" else packed
        return values.astype(dtype)
    low, step = _levels(dtype, calibration, dimensions=dimensions)
    # Clipped first, and in float64, because a range may be as narrow as the resolution of float32. Where low equals
    # high, there is only one level.
    above = np.clip(values, low, low + step * _STEPS) - low
    levels = np.divide(above, step, out=np.zeros_like(above), where=step > 0)
    codes: NDArray[np.uint8] = np.rint(levels).astype(np.uint8)
    return (codes ^ np.uint8(0x80)).view(np.int8) if dtype == "int8" else codes


def dequantize(codes: ArrayLike, dtype: Dtype, *, calibration: Calibration | None = None) -> NDArray[np.float32]:
    """Return the vectors that codes stand for, to compare them with vectors that are not quantized.

    Args:
        codes: what `quantize` returned, for one vector or several.
        dtype: the dtype that `quantize` was called with.
        calibration: the calibration that `quantize` was called with.

    Returns:
        float32 `[d]` or `[n, d]`. For int8 and uint8, each number differs from the original by at most half the
        distance between two levels, if the original was within the range. For binary and ubinary, each number is plus
        or minus 1 / sqrt(d), so the signs are kept and the norm is 1.

    Raises:
        InvalidInputError: the codes are not of this dtype, or the calibration is missing or for other dimensions.
    """
    array = np.asarray(codes)
    checked_dtype(dtype)
    if array.dtype != np.dtype({**_STORED, **_PACKED}[dtype]) or array.ndim not in (1, 2):
        raise InvalidInputError(f"{dtype} vectors are not {array.dtype} {list(array.shape)}")
    if dtype in ("float32", "float16"):
        return array.astype(np.float32)
    flips_sign = dtype in ("binary", "int8")
    unsigned: NDArray[np.uint8] = np.ascontiguousarray(array).view(np.uint8) ^ np.uint8(0x80 if flips_sign else 0)
    if dtype in _PACKED:
        bits = np.unpackbits(unsigned, axis=-1)
        unit = np.float32(1 / np.sqrt(bits.shape[-1]))
        return np.where(bits == 1, unit, -unit)
    low, step = _levels(dtype, calibration, dimensions=array.shape[-1])
    numbers: NDArray[np.float32] = (low + step * unsigned).astype(np.float32)
    return numbers


def checked_dtype(dtype: object, *, dimensions: int | None = None) -> Dtype:
    """Return `dtype`, after checking that vectors of this length can be written with it.

    Raises:
        InvalidInputError: the dtype is unknown, or packs eight numbers in a byte and `dimensions` is not a multiple of
            8.
    """
    for known in DTYPES:
        if dtype == known:
            if known in _PACKED and dimensions is not None and dimensions % 8:
                raise InvalidInputError(
                    f"{known} packs eight numbers in a byte, but {dimensions} dimensions are not a multiple of eight"
                )
            return known
    raise InvalidInputError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")


def needs_calibration(dtype: Dtype) -> bool:
    """Return whether vectors of a dtype are written as levels of a calibrated range."""
    return dtype in ("int8", "uint8")


def stored_as(dtype: Dtype, *, dimensions: int) -> tuple[np.dtype[Any], int]:
    """Return the numpy dtype of the codes of a vector, and their number."""
    if dtype in _PACKED:
        return np.dtype(_PACKED[dtype]), dimensions // 8
    return np.dtype(_STORED[dtype]), dimensions


def _checked_vectors(vectors: ArrayLike) -> NDArray[np.float32]:
    values = np.asarray(vectors, dtype=np.float32)
    if values.ndim not in (1, 2):
        raise InvalidInputError(f"vectors must be [d] or [n, d], not {list(values.shape)}")
    if not np.isfinite(values).all():
        raise InvalidInputError("vectors must hold finite numbers only")
    return values


def _levels(
    dtype: Dtype, calibration: Calibration | None, *, dimensions: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lowest level of each dimension and the distance between two levels, both float64 `[d]`."""
    if calibration is None:
        raise InvalidInputError(
            f"{dtype} needs the range of each dimension: pass calibration=Calibration.of(vectors), made once from "
            f"at least {_MIN_VECTORS} documents and used for all that are compared with them"
        )
    if calibration.dimensions != dimensions:
        raise InvalidInputError(
            f"the calibration is for {calibration.dimensions} dimensions, the vectors have {dimensions}: make it "
            "from vectors that are cut as these are"
        )
    low = calibration.low.astype(np.float64)
    return low, (calibration.high - low) / _STEPS
