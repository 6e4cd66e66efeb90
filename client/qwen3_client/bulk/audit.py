"""Whether stored vectors are those of the served model: a sample is embedded again and compared.

Vectors of the same model differ by rounding at most, on processors that sum in another order. How much that may be
depends on the precision of the model and on the dtype of the stored vectors. This module knows nothing about servers.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from ..errors import InvalidInputError
from ..quantization import Calibration, Dtype, dequantize, quantize
from .corpus_files import open_corpus_file

SUFFIXES = (".npy", ".parquet")

# Smallest cosine, by the first word of the model's precision, of its vectors and of those that another processor or
# another program makes of the same weights. They are the bounds of `qwen3-triton verify`; fp32 has a little more room,
# for programs that compute in another order. Between a processor with AMX and an emulated one with AVX2 alone, 1 minus
# the cosine was at most 4e-13 with fp32, 7e-5 with int8, 2e-4 with int8-weight and 4e-4 with int4-weight, on random
# weights of 4 layers.
_COSINE = {"fp32": 0.99999, "bf16": 0.999, "fp16": 0.999, "int8": 0.99, "int4": 0.85}
# The angle, in radians, by which storing may turn one of two vectors that almost agree: by half a unit in the last
# place; by a level in each dimension, of 256 over about 8 standard deviations.
_ANGLE: dict[Dtype, float] = {"float32": 0.0, "float16": 1e-3, "int8": 0.032, "uint8": 0.032}
_TIE = 1e-9  # between cosines of equal vectors, which the product of matrices may sum in another order
_BITS_SLACK = 0.05  # of the cosine of vectors of signs, for the chance in how many signs differ

_DTYPES: dict[str, Dtype] = {
    "float64": "float32",
    "float32": "float32",
    "float16": "float16",
    "int8": "int8",
    "uint8": "uint8",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """Some rows of a file of vectors.

    Attributes:
        rows: number of rows in the file.
        keys: the id of each row of the sample, or its row number.
        texts: their texts.
        vectors: as they are stored, `[n, width]`.
    """

    rows: int
    keys: list[Any]
    texts: list[str]
    vectors: NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How well stored vectors agree with new ones of the same texts.

    Attributes:
        rows: number of vectors that were compared.
        equal: how many are equal to the bit.
        difference: largest difference between two numbers.
        least_cosine: smallest cosine of a pair.
        median_cosine: median of the cosines.
        nearest: how many stored vectors have no larger cosine with the new vector of another text than with that of
            their own. Vectors of other texts or of another model have that by chance only.
        furthest: index of the pair with the smallest cosine.
    """

    rows: int
    equal: int
    difference: float
    least_cosine: float
    median_cosine: float
    nearest: int
    furthest: int


def least_cosine(precision: str, dtype: Dtype) -> float:
    """Return the smallest cosine that rounding explains between vectors of one model and text.

    Args:
        precision: the precision of the model, such as "int8-weight".
        dtype: the dtype of the stored vectors.

    Raises:
        InvalidInputError: the precision is unknown.
    """
    model = _COSINE.get(precision.partition("-")[0])
    if model is None:
        raise InvalidInputError(f"there is no bound for the precision {precision!r}: give one with least_cosine=")
    angle = math.acos(model)
    if dtype in ("binary", "ubinary"):  # a sign differs with probability angle / pi
        return 1 - 2 * angle / math.pi - _BITS_SLACK
    return math.cos(angle + _ANGLE[dtype])


def agreement(
    stored: NDArray[Any], fresh: NDArray[np.float32], dtype: Dtype, *, calibration: Calibration | None
) -> Agreement:
    """Compare stored vectors with new ones.

    Args:
        stored: as they are stored, `[n, width]`.
        fresh: new vectors of the same texts, float32 `[n, dimensions]`.
        dtype: the dtype of the stored vectors.
        calibration: the ranges of int8 and uint8.

    Raises:
        InvalidInputError: the calibration is missing, or is for other dimensions.
    """
    codes = quantize(fresh, dtype, calibration=calibration)
    equal = (codes == stored).all(axis=1)
    new = dequantize(codes, dtype, calibration=calibration).astype(np.float64)
    old = stored if dtype == "float32" else dequantize(stored, dtype, calibration=calibration)
    old = old.astype(np.float64)
    # A vector of zeros, or with NaN, has no direction: it agrees with nothing.
    every = np.nan_to_num(_directions(old) @ _directions(new).T, nan=-1.0)
    cosines = np.where(equal, 1.0, every.diagonal())
    return Agreement(
        rows=len(stored),
        equal=int(equal.sum()),
        difference=float(np.nan_to_num(np.abs(old - new), nan=np.inf).max()),
        least_cosine=float(cosines.min()),
        median_cosine=float(np.median(cosines)),
        nearest=int((cosines >= every.max(axis=1) - _TIE).sum()),
        furthest=int(cosines.argmin()),
    )


def _directions(vectors: NDArray[Any]) -> NDArray[np.float64]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: NDArray[np.float64] = vectors / np.where(norms > 0, norms, np.inf)
    return scaled


def take_sample(
    path: Path,
    *,
    count: int,
    vector_column: str,
    text_column: str,
    corpus: Path | None,
    id_column: str | None,
) -> Sample:
    """Read some rows of a file of vectors with their texts. The rows are chosen at random, but always the same.

    Args:
        path: the file of vectors, with one of `SUFFIXES`.
        count: maximum number of rows.
        vector_column: the column of the vectors in a .parquet file.
        text_column: the column of the texts, in the file or in the corpus.
        corpus: the file with the texts; None if the vectors' own file has them.
        id_column: the column of ids in both files; None if row numbers are the ids: those in the column `row` of the
            vectors' file if it has one, as `qwen3-triton embed` writes it, else those of that file.

    Raises:
        InvalidInputError: a column or a text is missing, or a file is damaged.
        OSError: a file cannot be read.
    """
    if path.suffix == ".npy":
        return _sample_of_npy(path, count=count, text_column=text_column, corpus=corpus, id_column=id_column)
    with _opened(path) as file:
        names, rows = file.schema_arrow.names, file.metadata.num_rows
        key_column = id_column or ("row" if corpus is not None and "row" in names else None)
        columns = [vector_column, *([key_column] if key_column else []), *([] if corpus else [text_column])]
        for column in columns:
            if names.count(column) != 1:
                raise InvalidInputError(f"{path} has no column {column!r}, or several; there are: {', '.join(names)}")
        chosen = _chosen(rows, count, path=path)
        taken = pa.concat_tables(_rows(file, chosen, columns))
    keys = taken[key_column].to_pylist() if key_column else chosen.tolist()
    texts = taken[text_column].to_pylist() if corpus is None else _texts_of(keys, corpus, text_column, id_column)
    for key, text in zip(keys, texts, strict=True):
        if not isinstance(text, str) or not text:
            raise InvalidInputError(f"{corpus or path} has no text in the column {text_column!r} for the row {key!r}")
    return Sample(rows=rows, keys=keys, texts=texts, vectors=_matrix(taken[vector_column], path=path))


def dtype_of(vectors: NDArray[Any], stated: object) -> Dtype:
    """Return the dtype of stored vectors: the one that their description states, else that of their numbers."""
    return stated if stated is not None else _DTYPES[vectors.dtype.name]  # type: ignore[return-value]


def _sample_of_npy(path: Path, *, count: int, text_column: str, corpus: Path | None, id_column: str | None) -> Sample:
    if corpus is None or id_column is not None:
        raise InvalidInputError(
            f"{path} holds only vectors, in the order of the corpus: name the corpus, and no column of ids"
        )
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise InvalidInputError(f"{path} cannot be read as .npy: {error}") from None
    if array.ndim != 2 or array.dtype.name not in _DTYPES:
        raise InvalidInputError(f"{path} holds {array.dtype} {list(array.shape)}, not vectors [n, d]")
    chosen = _chosen(len(array), count, path=path)
    keys = chosen.tolist()
    return Sample(
        rows=len(array), keys=keys, texts=_texts_of(keys, corpus, text_column, None), vectors=np.array(array[chosen])
    )


def _opened(path: Path) -> parquet.ParquetFile:
    try:
        return parquet.ParquetFile(path, pre_buffer=False)
    except pa.ArrowException as error:
        raise InvalidInputError(f"{path} cannot be read as Parquet: {error}") from None


def _chosen(rows: int, count: int, *, path: Path) -> NDArray[np.int64]:
    if not rows:
        raise InvalidInputError(f"{path} holds no rows")
    chosen = np.random.default_rng(0).choice(rows, size=min(rows, count), replace=False)
    return np.sort(chosen).astype(np.int64)


def _rows(file: parquet.ParquetFile, chosen: NDArray[np.int64], columns: Sequence[str]) -> Iterator[pa.Table]:
    start = 0
    for batch in file.iter_batches(columns=list(columns)):
        here = chosen[(chosen >= start) & (chosen < start + batch.num_rows)] - start
        if len(here):
            yield pa.Table.from_batches([batch]).take(pa.array(here))
        start += batch.num_rows


def _matrix(column: pa.ChunkedArray, *, path: Path) -> NDArray[Any]:
    """Return a column of lists of numbers as `[n, width]`."""
    is_list = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    is_list = is_list or pa.types.is_fixed_size_list(column.type)
    rows = [np.asarray(row.values) if is_list and row.is_valid else np.empty(0) for row in column]
    if not is_list or len({(len(row), row.dtype.name) for row in rows}) != 1 or rows[0].dtype.name not in _DTYPES:
        raise InvalidInputError(
            f"the column of vectors in {path} holds {column.type}: it must hold lists of equal length, of floats or "
            "bytes, and none of them may be missing"
        )
    return np.stack(rows)


def _texts_of(keys: Sequence[Any], corpus: Path, text_column: str, id_column: str | None) -> list[str]:
    """Return the texts of some rows of a corpus, by their ids or row numbers."""
    file = open_corpus_file(corpus)
    columns = [text_column, *([] if id_column is None else [id_column])]
    for column in columns:
        if column not in file.columns:
            raise InvalidInputError(f"{corpus} has no column {column!r}; there are: {', '.join(file.columns)}")
    wanted, found = set(keys), {}
    for row, (_, values) in enumerate(file.rows(columns)):
        key = row if id_column is None else values[1]
        if key in wanted:
            found[key] = values[0]
            if len(found) == len(wanted):
                break
    for key in keys:
        if not isinstance(found.get(key), str) or not found[key]:
            raise InvalidInputError(f"{corpus} has no text for the row {key!r} of the vectors; is it their corpus?")
    return [found[key] for key in keys]
