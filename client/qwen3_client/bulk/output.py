"""What a bulk job leaves: its vectors in one .parquet or .npy, and the calibration that they were quantised with.

The parts hold vectors as they will be written. Where the job makes its own calibration, that of the first rows, these
rows are float32 until the end; whenever the job goes on, the same rows give the same calibration. This module knows
nothing about texts or servers.
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
from ..quantization import Calibration, Dtype, needs_calibration, quantise, stored_as
from ..vector_files import calibration_beside, vector_file
from .parts import Parts

OUTPUT_SUFFIXES = (".npy", ".parquet")
VECTOR_COLUMN = "embedding"
_METADATA_KEY = b"qwen3_triton"  # in the schema of a .parquet: what the vectors are, as JSON
_CUTS_KEY = b"cuts"  # in the schema of a part: what its texts lost, as JSON

# A calibration is made from the blocks that begin before this row. One number in 5,000 of the rest is then clipped
# (see `Calibration.of`), if the corpus is in no particular order.
_CALIBRATION_ROWS = 10_000


class BulkOutput:
    """The vectors of a job: block by block in its parts, and at the end in one file.

    Args:
        path: the file, of one of `OUTPUT_SUFFIXES`.
        parts: the job's.
        key: the column that names the vectors. A .npy does not hold it.
        dtype: how the vectors are written.
        dimensions: how many numbers each has.
        calibration: the ranges for int8 and uint8; None to make them from the first rows of the corpus.
        about: what the vectors are, for the metadata of a .parquet.
        saves_calibration: whether the ranges are written beside the file; they need not be if they came from there.
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
        self._saves_calibration = saves_calibration

    def add(self, keys: pa.Array, vectors: NDArray[np.float32], *, stop: int, cuts: Cuts) -> None:
        """Keep the vectors of the next block; they are on the disk when this returns.

        Args:
            keys: what names each vector.
            vectors: float32 `[n, dimensions]`.
            stop: the row of the corpus after the block's last.
            cuts: what the block's texts lost to fit the model.

        Raises:
            OSError: they cannot be written.
        """
        is_sample = self._calibrates and self._parts.next_row < _CALIBRATION_ROWS
        table = self._table(keys, vectors if is_sample else self._quantised(vectors))
        self._parts.add(table.replace_schema_metadata({_CUTS_KEY: json.dumps(asdict(cuts))}), stop=stop)

    @property
    def cuts(self) -> Cuts:
        """What the texts of all finished blocks lost to fit the model, those of earlier runs included."""
        tables = self._parts.tables()
        return sum((Cuts(**json.loads(table.schema.metadata[_CUTS_KEY])) for table in tables), Cuts())

    def finish(self) -> int:
        """Join the parts in one file, with the calibration beside it, and removes them.

        Returns:
            How many vectors there are.

        Raises:
            InvalidInputError: there are too few to make a calibration from.
            OSError: a file cannot be written.
        """
        calibration = self._ranges()
        if calibration is not None and self._saves_calibration:
            calibration.save(calibration_beside(self.path))
        count = 0
        with self._npy() if self.path.suffix == ".npy" else self._parquet() as write:
            for table in self._parts.tables():
                vectors = _vectors(table)
                write(table if vectors.dtype == self.stored else self._table(table[0], self._quantised(vectors)))
                count += len(vectors)
        self._parts.remove()
        return count

    def _ranges(self) -> Calibration | None:
        if self._calibrates and self._calibration is None:
            sample = takewhile(lambda vectors: vectors.dtype == np.float32, map(_vectors, self._parts.tables()))
            self._calibration = Calibration.of(np.concatenate(list(sample)))
        return self._calibration

    def _quantised(self, vectors: NDArray[np.float32]) -> NDArray[Any]:
        return quantise(vectors, self._dtype, calibration=self._ranges())

    def _table(self, keys: pa.Array | pa.ChunkedArray, vectors: NDArray[Any]) -> pa.Table:
        rows = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        return pa.table([keys, rows], names=[self._key.name, VECTOR_COLUMN])

    @contextmanager
    def _npy(self) -> Iterator[Callable[[pa.Table], None]]:
        partial = self._parts.partial(self.path.name)
        with vector_file(self.path, width=self.width, dtype=self.stored, partial=partial) as write:
            yield lambda table: write(_vectors(table))

    @contextmanager
    def _parquet(self) -> Iterator[Callable[[pa.Table], None]]:
        schema = pa.schema(
            [self._key, pa.field(VECTOR_COLUMN, pa.list_(pa.from_numpy_dtype(self.stored), self.width))],
            metadata={_METADATA_KEY: json.dumps(self._about, ensure_ascii=False)},
        )
        partial = self._parts.partial(self.path.name)
        with (
            durable_file(self.path, partial=partial) as file,
            # Vectors hardly ever repeat: neither a dictionary nor compression makes them smaller.
            parquet.ParquetWriter(file, schema, compression="none", use_dictionary=False) as writer,
        ):
            yield writer.write_table


def _vectors(table: pa.Table) -> NDArray[Any]:
    """Return the vectors of a part, `[n, width]`, mapped from its file."""
    rows = table[VECTOR_COLUMN].combine_chunks()
    numbers: NDArray[Any] = rows.flatten().to_numpy()
    return numbers.reshape(len(rows), -1)
