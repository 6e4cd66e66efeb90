"""The output of a bulk job: its vectors in one .parquet or .npy file, and the calibration that quantized them.

The parts hold vectors in the dtype of the output. If the job makes its own calibration, it does so from the first rows.
These rows stay float32 in the parts until the end, so that a resumed job makes the same calibration from the same rows.
This module knows nothing about texts or servers.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from ..cuts import Cuts
from ..durable_file import durable_file
from ..quantization import Calibration, Dtype, needs_calibration, quantize, stored_as
from ..vector_files import calibration_beside, vector_file
from .description import METADATA_KEY, as_json, description_beside
from .existing import ExistingVectors
from .parts import Parts
from .vector_lists import vector_lists

OUTPUT_SUFFIXES = (".npy", ".parquet")
VECTOR_COLUMN = "embedding"
ARITHMETIC_KEY = b"arithmetic"  # in the schema of a part: `arithmetic_of` the server that made it, or nothing
_CUTS_KEY = b"cuts"  # in the schema of a part: what was cut off from its texts, as JSON

# A calibration is made from the blocks that begin before this row. If the corpus is in random order, one number in
# 5,000 of the other blocks is then clipped; quantization.py has the formula.
_CALIBRATION_ROWS = 10_000


class BulkOutput:
    """The vectors of a job, block by block in its parts, and at the end in one file.

    Args:
        path: the file, with one of `OUTPUT_SUFFIXES`.
        parts: the parts of the job.
        key: the column of the vectors' keys. A .npy file does not have it.
        dtype: the dtype in which the vectors are written.
        dimensions: length of the vectors.
        calibration: the ranges for int8 and uint8; None to make them from the first rows of the corpus.
        about: description of the vectors, for the metadata of a .parquet file or the sidecar of a .npy file.
        arithmetic: what `arithmetic_of` returned for the server, which may be another one than in an earlier run.
        existing: the vectors of the file, which the new ones follow; None to replace the file.
        saves_calibration: whether the calibration is written beside the file; not necessary if it was read from there.
    """

    def __init__(
        self,
        path: Path,
        parts: Parts,
        *,
        key: pa.Field,
        dtype: Dtype,
        dimensions: int,
        calibration: Calibration | None,
        about: Mapping[str, object],
        arithmetic: str | None,
        existing: ExistingVectors | None = None,
        saves_calibration: bool = True,
    ) -> None:
        self.path = path
        self.stored, self.width = stored_as(dtype, dimensions=dimensions)
        self._parts = parts
        self._key = key
        self._dtype = dtype
        self._calibration = calibration
        self._calibrates = calibration is None and needs_calibration(dtype)
        self._about = about
        self._arithmetic = arithmetic
        self._existing = existing
        self._saves_calibration = saves_calibration

    def add(self, keys: pa.Array, vectors: NDArray[np.float32], *, stop: int, cuts: Cuts) -> None:
        """Store the vectors of the next block. They are on the disk when this returns.

        Args:
            keys: the key of each vector.
            vectors: float32 `[n, dimensions]`.
            stop: the row of the corpus after the last one of the block.
            cuts: what was cut off from the texts of the block.

        Raises:
            OSError: they cannot be written.
        """
        is_sample = self._calibrates and self._parts.next_row < _CALIBRATION_ROWS
        table = self._table(keys, vectors if is_sample else self._quantized(vectors))
        metadata = {_CUTS_KEY: json.dumps(asdict(cuts)), ARITHMETIC_KEY: self._arithmetic or ""}
        self._parts.add(table.replace_schema_metadata(metadata), stop=stop)

    @property
    def cuts(self) -> Cuts:
        """What was cut off from the texts of all finished blocks, including those of earlier runs."""
        tables = self._parts.tables()
        return sum((Cuts(**json.loads(table.schema.metadata[_CUTS_KEY])) for table in tables), Cuts())

    def finish(self) -> int:
        """Join the parts in one file, write the calibration beside it, and remove the parts.

        Returns:
            The number of vectors in the file.

        Raises:
            InvalidInputError: there are too few vectors to make a calibration from.
            OSError: a file cannot be written.
        """
        calibration = self._ranges()
        if calibration is not None and self._saves_calibration:
            calibration.save(calibration_beside(self.path))
        count = 0
        with self._npy() if self.path.suffix == ".npy" else self._parquet() as write:
            for table in () if self._existing is None else self._existing.tables():
                write(table)
                count += table.num_rows
            for table in self._parts.tables():
                vectors = _vectors(table)
                write(table if vectors.dtype == self.stored else self._table(table[0], self._quantized(vectors)))
                count += len(vectors)
        self._parts.remove()
        return count

    def _description(self) -> dict[str, object]:
        """Return the description of the vectors. They have an arithmetic if it is the same for all of them."""
        made = {(table.schema.metadata or {}).get(ARITHMETIC_KEY, b"").decode() for table in self._parts.tables()}
        appended: dict[str, object] = {}
        if self._existing is not None:
            made.add(self._existing.arithmetic or "")
            appended = {"appended_to": self._existing.identity}
        return {**self._about, **appended, "arithmetic": made.pop() or None if len(made) == 1 else None}

    def _ranges(self) -> Calibration | None:
        if self._calibrates and self._calibration is None:
            sample = takewhile(lambda vectors: vectors.dtype == np.float32, map(_vectors, self._parts.tables()))
            self._calibration = Calibration.of(np.concatenate(list(sample)))
        return self._calibration

    def _quantized(self, vectors: NDArray[np.float32]) -> NDArray[Any]:
        return quantize(vectors, self._dtype, calibration=self._ranges())

    def _table(self, keys: pa.Array | pa.ChunkedArray, vectors: NDArray[Any]) -> pa.Table:
        rows = vector_lists(vectors)
        return pa.table([keys, rows], names=[self._key.name, VECTOR_COLUMN])

    @contextmanager
    def _npy(self) -> Iterator[Callable[[pa.Table], None]]:
        partial = self._parts.partial(self.path.name)
        with durable_file(description_beside(self.path)) as file:
            file.write(as_json(self._description()).encode())
        with vector_file(self.path, width=self.width, dtype=self.stored, partial=partial) as write:
            yield lambda table: write(_vectors(table))

    @contextmanager
    def _parquet(self) -> Iterator[Callable[[pa.Table], None]]:
        schema = pa.schema(
            [self._key, pa.field(VECTOR_COLUMN, pa.list_(pa.from_numpy_dtype(self.stored), self.width))],
            metadata={METADATA_KEY: as_json(self._description())},
        )
        partial = self._parts.partial(self.path.name)
        with (
            durable_file(self.path, partial=partial) as file,
            # Neither a dictionary nor compression makes vectors smaller, because their numbers hardly ever repeat.
            parquet.ParquetWriter(file, schema, compression="none", use_dictionary=False) as writer,
        ):
            yield writer.write_table


def _vectors(table: pa.Table) -> NDArray[Any]:
    """Return the vectors of a part, `[n, width]`, as a memory map of its file."""
    rows = table[VECTOR_COLUMN].combine_chunks()
    numbers: NDArray[Any] = rows.flatten().to_numpy()
    return numbers.reshape(len(rows), -1)
