"""The files that a corpus may be: Parquet, CSV, JSON lines, and one text a line. Read row by row, in bounded memory.

Every format is told apart by the file's suffix and seen as rows of named columns; the lines of a .txt are its only
column, `text`. What the columns mean is not known here. CSV is read with Python's own reader: that of pyarrow runs
32 blocks ahead, so that nobody knows how far it is, and refuses a row that is longer than a block.
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

Row = tuple[int, tuple[Any, ...]]  # how far the file is read after it, in units of `size`, and the values


class CorpusFile(ABC):
    """A file of rows.

    Attributes:
        columns: their names.
        size: how much there is to read: rows of a Parquet file, bytes of any other.
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
            columns: of which the values are wanted; all of them exist.

        Yields:
            How far the file is read, and the row's values; a value that is missing is None.

        Raises:
            InvalidInputError: the file is damaged, or not what its suffix says.
        """

    @abstractmethod
    def type_of(self, column: str) -> pa.DataType:
        """Return the type that all values of a column share, as far as can be told without reading them all."""

    def _bad(self, row: int, problem: str) -> InvalidInputError:
        return InvalidInputError(f"{self.path}, row {row} (the first is 0): {problem}")

    def _lines(self, file: IO[bytes]) -> Iterator[tuple[int, str]]:
        """Yield how far the file is read, and a line with its end. A byte order mark is left out."""
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
        # With pre_buffer, a whole row group would be fetched at once, and a file may be a single one.
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
            raise InvalidInputError(f"{path} must name the columns in its first line, which is empty")

    def rows(self, columns: Sequence[str]) -> Iterator[Row]:
        indices = [self.columns.index(name) for name in columns]
        row = 0
        with self.path.open("rb") as file:
            for read, fields in itertools.islice(self._records(file), 1, None):
                # An empty line is no row, but for a single column: there it may well be an empty field.
                if not fields and len(self.columns) > 1:
                    continue
                values = fields or [""]
                if len(values) != len(self.columns):
                    raise self._bad(row, f"it has {len(values)} fields, the header has {len(self.columns)}")
                row += 1
                yield read, tuple(values[index] for index in indices)

    def type_of(self, column: str) -> pa.DataType:  # noqa: ARG002
        return pa.string()

    def _records(self, file: IO[bytes]) -> Iterator[tuple[int, list[str]]]:
        """Yield how far the file is read, and the fields of a record; an empty line has none."""
        read = 0

        def lines() -> Iterator[str]:
            nonlocal read
            for position, line in self._lines(file):
                read = position
                yield line

        csv.field_size_limit(sys.maxsize)  # of the module, and 128 KB by default: a text may be longer
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
                raise self._bad(row, "it is no JSON object with the columns as its keys")
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
    """Return the file as rows; only its first row or its metadata is read.

    Raises:
        InvalidInputError: the suffix is unknown, or the file is not what it says.
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
