"""Files of vectors, written row by row, that appear whole or not at all.

Rows go to a hidden file beside the wanted one, which takes its name when all are there. This module knows
nothing about texts.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SUFFIXES", "json_line", "vector_file"]

SUFFIXES = (".jsonl", ".npy")


def json_line(index: int, row: NDArray[np.float32]) -> str:
    """Returns one text's vector as a line of JSON, without its end of line."""
    return json.dumps({"index": index, "embedding": row.tolist()})


@contextlib.contextmanager
def vector_file(path: Path, *, dimensions: int) -> Iterator[Callable[[NDArray[np.float32]], None]]:
    """Opens a file of vectors and gives the function that writes the next row.

    Args:
        path: the file, of one of `SUFFIXES`; one that is there is replaced at the end.
        dimensions: length of the rows.

    Raises:
        OSError: the file cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    rows = 0
    try:
        with partial.open("xb") as file:
            is_npy = path.suffix == ".npy"
            if is_npy:
                _write_npy_header(file, rows=0, dimensions=dimensions)

            def write(row: NDArray[np.float32]) -> None:
                nonlocal rows
                file.write(row.astype("<f4").tobytes() if is_npy else f"{json_line(rows, row)}\n".encode())
                rows += 1

            yield write
            if is_npy:
                file.seek(0)
                _write_npy_header(file, rows=rows, dimensions=dimensions)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _write_npy_header(file: IO[bytes], *, rows: int, dimensions: int) -> None:
    """Writes numpy's own header; padded for growth, it is equally long for every number of rows."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, dimensions)}
    npy: Any = np.lib.format  # untyped in numpy 1
    npy.write_array_header_1_0(file, header)
