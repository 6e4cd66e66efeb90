"""The file formats of a corpus: Parquet, CSV, JSON lines, and one text per line, read row by row in bounded memory.

The suffix of the file tells its format. Every format is read as rows of named columns; a .txt file has one column,
`text`, which holds its lines. CSV is read with Python's `csv`, because the reader of pyarrow reads 32 blocks ahead,
which makes progress unknown, and refuses a row that is longer than a block. This module knows nothing about what the
columns mean.
"""

import contextlib
import csv
import itertools
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from pyarrow import parquet

from ..errors import InvalidInputError

LINE_COLUMN = "text"
SUFFIXES = (".csv", ".jsonl", ".parquet", ".txt")

_BATCH_ROWS = 1024
_BUFFER_BYTES = 1 << 20

Row = tuple[int, tuple[Any, ...]]  # how much of the file is read after the row, in units of `size`; the values


class CorpusFile(ABC):
    """A file of rows.

    Attributes:
        columns: names of the columns.
        size: size of the file: rows if it is Parquet, else bytes.
    """

    columns: list[str]
    size: int

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size

    @abstractmethod
    def rows(self, columns: Sequence[str]) -> Iterator[Row]:
        """Read the file from its start.

        Args:
            columns: names of the columns to read, all of which exist.

        Yields:
            How much of the file has been read, and the values of the row; None for a missing value.

        Raises:
            InvalidInputError: the file is damaged, or is not what its suffix says.
        """

    @abstractmethod
    def type_of(self, column: str) -> pa.DataType:
        """Return the type of the values of a column, from the schema or, if there is none, the first row."""

    def _bad(self, row: int, problem: str) -> InvalidInputError:
        return InvalidInputError(f"{self.path}, row {row} (the first is 0): {problem}")

    def _lines(self, file: IO[bytes]) -> Iterator[tuple[int, str]]:
        """Yield how many bytes have been read, and a line with its line end, without a byte order mark."""
        read = 0
        for number, line in enumerate(file, start=1):
            read += len(line)
            try:
                yield read, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InvalidInputError(
                    f"{self.path}, line {number} is not UTF-8 ({error.reason}); convert the file"
                ) from None


class _Parquet(CorpusFile):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with self._open() as file:
            self._schema = file.schema_arrow
            self.size = file.metadata.num_rows
        self.columns = list(self._schema.names)

    def rows(self, columns: Sequence[str]) -> Iterator[Row]:
        read = 0
        with self._open() as file:
            for batch in file.iter_batches(_BATCH_ROWS, columns=list(columns)):
                for values in zip(*(batch.column(name).to_pylist() for name in columns), strict=True):
                    read += 1
                    yield read, values

    def type_of(self, column: str) -> pa.DataType:
        found = self._schema.field(column).type
        return found.value_type if pa.types.is_dictionary(found) else found

    @contextlib.contextmanager
    def _open(self) -> Iterator[parquet.ParquetFile]:
        # With pre_buffer, a whole row group would be read at once, and a file may have only one.
        try:
            with parquet.ParquetFile(self.path, pre_buffer=False, buffer_size=_BUFFER_BYTES) as file:
                yield file
        except pa.ArrowException as error:
            raise InvalidInputError(f"{self.path} cannot be read as Parquet: {error}") from None


class _Csv(CorpusFile):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with path.open("rb") as file:
            _, self.columns = next(self._records(file), (0, []))
        if not self.columns:
            raise InvalidInputError(f"{path} must name the columns in its first line, but that is empty")

    def rows(self, columns: Sequence[str]) -> Iterator[Row]:
        indices = [self.columns.index(name) for name in columns]
        row = 0
        with self.path.open("rb") as file:
            for read, fields in itertools.islice(self._records(file), 1, None):
                # An empty line is not a row, unless there is only one column: then it is a row with an empty field.
                if not fields and len(self.columns) > 1:
                    continue
                values = fields or [""]
                if len(values) != len(self.columns):
                    raise self._bad(row, f"it has {len(values)} fields, but the header has {len(self.columns)}")
                row += 1
                yield read, tuple(values[index] for index in indices)

    def type_of(self, column: str) -> pa.DataType:  # noqa: ARG002
        return pa.string()

    def _records(self, file: IO[bytes]) -> Iterator[tuple[int, list[str]]]:
        """Yield how many bytes have been read, and the fields of a record. An empty line has no fields."""
        read = 0

        def lines() -> Iterator[str]:
            nonlocal read
            for position, line in self._lines(file):
                read = position
                yield line

        csv.field_size_limit(sys.maxsize)  # the default of the csv module is 128 KB, and a text may be longer
        records = csv.reader(lines(), strict=True)
        try:
            for fields in records:
                yield read, fields
        except csv.Error as error:
            raise InvalidInputError(f"{self.path}, line {records.line_num} is not CSV: {error}") from None


class _JsonLines(CorpusFile):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with path.open("rb") as file:
            self._first = next(self._objects(file), (0, {}))[1]
        self.columns = list(self._first)

    def rows(self, columns: Sequence[str]) -> Iterator[Row]:
        with self.path.open("rb") as file:
            for read, fields in self._objects(file):
                yield read, tuple(fields.get(name) for name in columns)

    def type_of(self, column: str) -> pa.DataType:
        try:
            return pa.scalar(self._first[column]).type
        except (pa.ArrowException, OverflowError):
            return pa.null()

    def _objects(self, file: IO[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
        for row, (read, line) in enumerate(self._lines(file)):
            try:
                fields = json.loads(line)
            except (RecursionError, ValueError) as error:
                raise self._bad(row, f"it is not JSON: {error}") from None
            if not isinstance(fields, dict):
                raise self._bad(row, "it is not a JSON object with the columns as keys")
            yield read, fields


class _Lines(CorpusFile):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.columns = [LINE_COLUMN]

    def rows(self, columns: Sequence[str]) -> Iterator[Row]:
        with self.path.open("rb") as file:
            for read, line in self._lines(file):
                yield read, (line.removesuffix("\n").removesuffix("\r"),) * len(columns)

    def type_of(self, column: str) -> pa.DataType:  # noqa: ARG002
        return pa.string()


def open_corpus_file(path: Path) -> CorpusFile:
    """Open a file as rows. Only its metadata or its first row is read yet.

    Raises:
        InvalidInputError: the suffix is unknown, or the file is not what its suffix says.
        OSError: the file cannot be read.
    """
    formats: dict[str, type[CorpusFile]] = {
        ".csv": _Csv,
        ".jsonl": _JsonLines,
        ".parquet": _Parquet,
        ".txt": _Lines,
    }
    if path.suffix not in formats:
        raise InvalidInputError(f"cannot read {path}: the name must end in {', '.join(SUFFIXES)}")
    return formats[path.suffix](path)
