"""Files of vectors, written one batch at a time. A file appears complete or not at all.

This module knows nothing about texts, nor about what the numbers of a vector mean.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .durable_file import durable_file

SUFFIXES = (".jsonl", ".npy")


def json_line(index: int, row: NDArray[Any]) -> str:
    """Return one text's vector as a line of JSON, without the line end."""
    return json.dumps({"index": index, "embedding": row.tolist()})


def calibration_beside(output: Path) -> Path:
    """Return the path of the calibration that belongs to an output."""
    return output.with_suffix(".calibration.npz")


@contextlib.contextmanager
def vector_file(
    path: Path, *, width: int, dtype: np.dtype[Any], partial: Path | None = None
) -> Iterator[Callable[[NDArray[Any]], None]]:
    """Open a file of vectors for writing.

    Args:
        path: the file, with one of `SUFFIXES`. An existing file is replaced at the end.
        width: number of values in each vector.
        dtype: type of the values.
        partial: path of the file until it is complete; None for a hidden file in the same folder.

    Yields:
        The function that writes the next vectors, `[width]` or `[n, width]`.

    Raises:
        OSError: the file cannot be written.
    """
    stored = dtype.newbyteorder("<")
    count = 0
    with durable_file(path, partial=partial) as file:
        is_npy = path.suffix == ".npy"
        if is_npy:
            _write_npy_header(file, rows=0, width=width, dtype=stored)

        def write(vectors: NDArray[Any]) -> None:
            nonlocal count
            rows = vectors.reshape(-1, width)
            if is_npy:
                file.write(rows.astype(stored, casting="equiv").tobytes())
            else:
                file.writelines(f"{json_line(index, row)}\n".encode() for index, row in enumerate(rows, start=count))
            count += len(rows)

        yield write
        if is_npy:
            file.seek(0)
            _write_npy_header(file, rows=count, width=width, dtype=stored)


def _write_npy_header(file: IO[bytes], *, rows: int, width: int, dtype: np.dtype[Any]) -> None:
    """Write numpy's header, whose padding makes it equally long for every number of rows."""
    header = {"descr": dtype.str, "fortran_order": False, "shape": (rows, width)}
    npy: Any = np.lib.format  # untyped in numpy 1
    npy.write_array_header_1_0(file, header)
