"""Tensors in safetensors files, mapped instead of read.

The `safetensors` package reads whole tensors into memory, and bfloat16 only through torch. Here the file is mapped and
converted one tensor at a time, so that memory does not grow with the model.

Format: 8 bytes with the length of the header, little-endian; the header, which is JSON,
`{name: {dtype, shape, data_offsets}}`; the raw data. Source: https://huggingface.co/docs/safetensors/index#format
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
import numpy.typing as npt

from ..errors import ExportError

_DTYPES: dict[str, np.dtype] = {  # type: ignore[type-arg]
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F16": np.dtype(np.float16),
    "F32": np.dtype(np.float32),
}
_MAX_HEADER_BYTES = 100_000_000  # the format's own limit
STRIPE = 256  # rows of a matrix that are read at once, few enough to stay in the processor's cache


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor on disk.

    Attributes:
        name: Its name in the file.
        path: The file.
        dtype: bfloat16 (of ml_dtypes), float16 or float32.
        shape: Its shape in the file, such as `[out_features, in_features]`.
        offset: Where it begins, in bytes from the start of the file.
    """

    name: str
    path: Path
    dtype: np.dtype  # type: ignore[type-arg]
    shape: tuple[int, ...]
    offset: int

    def map(self) -> npt.NDArray[np.generic]:
        """Return a read-only view of the tensor in the mapped file, which takes no memory of its own."""
        return np.memmap(self.path, self.dtype, mode="r", offset=self.offset, shape=self.shape)

    def values(self) -> npt.NDArray[np.generic]:
        """Return what `map` does, after a check that every value is finite.

        Raises:
            ExportError: A value is NaN or infinite.
        """
        values = self.map()
        for start in range(0, values.shape[0], STRIPE):
            self.check_finite(values[start : start + STRIPE])
        return values

    def stripes(self) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
        """Read a matrix `[out, in]` by stripes of a few rows.

        Yields:
            Which rows of the matrix, and these rows as float32 `[stripe, in]`.

        Raises:
            ExportError: A value is NaN or infinite.
        """
        matrix = self.map()
        for start in range(0, matrix.shape[0], STRIPE):
            stored = matrix[start : start + STRIPE]
            self.check_finite(stored)
            yield slice(start, start + stored.shape[0]), stored.astype(np.float32)

    def check_finite(self, values: npt.NDArray[np.generic]) -> None:
        """Make sure that some values of this tensor are finite.

        Raises:
            ExportError: One is NaN or infinite.
        """
        # Comparing bits takes a fifth of the time that np.isfinite takes for bfloat16. Without its sign, infinity has
        # the largest bits of all numbers, and NaN still larger ones.
        unsigned = np.dtype(f"u{values.dtype.itemsize}")
        infinity = np.array(np.inf, values.dtype).view(unsigned)
        magnitude = np.iinfo(unsigned).max >> 1
        if values.size and (values.view(unsigned) & unsigned.type(magnitude)).max() >= infinity:
            raise ExportError(
                f"{self.path} holds NaN or infinity in {self.name}, so that every text would fail; use a checkpoint "
                "whose training did not diverge, or download the file again"
            )


def read_index(path: Path) -> dict[str, StoredTensor]:
    """List the tensors of one safetensors file by name.

    Raises:
        ExportError: The file is not a complete safetensors file, or holds a type that export does not read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        if size < 8 or header_bytes > min(size - 8, _MAX_HEADER_BYTES):
            raise ExportError(f"{path} is not a safetensors file, or only the beginning of one; download it again")
        try:
            header = json.loads(file.read(header_bytes))
        except ValueError as error:
            raise ExportError(f"{path} has an unreadable header ({error}); download it again") from None
    tensors = {}
    if not isinstance(header, dict):
        raise ExportError(f"{path} has a header that is no JSON object; download it again")
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if not _is_entry(entry):
            raise ExportError(f"{path} does not say type, shape and offsets of tensor {name}; download it again")
        dtype = _DTYPES.get(entry["dtype"])
        if dtype is None:
            raise ExportError(
                f"{path}: tensor {name} has the type {entry['dtype']}, but export reads {', '.join(_DTYPES)} only; "
                "export the checkpoint that is not quantized"
            )
        shape = tuple(entry["shape"])
        begin, end = entry["data_offsets"]
        if begin < 0 or end - begin != math.prod(shape) * dtype.itemsize or 8 + header_bytes + end > size:
            raise ExportError(f"{path} is cut short at tensor {name}; download it again")
        tensors[name] = StoredTensor(name, path, dtype, shape, 8 + header_bytes + begin)
    return tensors


def _is_entry(entry: object) -> bool:
    """Whether what a header says of a tensor has the form of the format."""
    if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str):
        return False
    shape, offsets = entry.get("shape"), entry.get("data_offsets")
    if not isinstance(shape, list) or not isinstance(offsets, list):
        return False
    return len(offsets) == 2 and all(type(number) is int for number in (*shape, *offsets))
