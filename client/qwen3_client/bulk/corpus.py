"""A corpus: the texts of a file's column, and what names each, in blocks.

A block is what is embedded together and kept together; where one ends depends on the file alone, so that a job
that goes on makes the blocks that it would have made. This module knows nothing about tokens or vectors.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from ..errors import InvalidInputError
from ..inputs import checked_text
from .corpus_files import CorpusFile, open_corpus_file

ROW_COLUMN = "row"  # names the rows when no column of the corpus does

# What a block's texts may hold together, so that long documents make short blocks: 8 million characters are about
# 2 million tokens, and 8 to 32 MB.
_MAX_CHARACTERS = 8_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Rows of a corpus that follow one another.

    Attributes:
        start: the first row, counted from 0.
        stop: the row after the last.
        rows: the row of each text; rows without a text may have been left out.
        texts: the texts.
        keys: what names each text: its id, or its row.
        begin: how much of the file was read before it, in units of `Corpus.size`.
        end: how much was read after it.
    """

    start: int
    stop: int
    rows: list[int]
    texts: list[str]
    keys: pa.Array
    begin: int
    end: int


class Corpus:
    """A file of texts.

    Args:
        path: a file that ends in one of `_corpus_files.SUFFIXES`.
        text_column: the column that holds the texts.
        id_column: the column that names them, of text or whole numbers; None to name them by their row.
        block_rows: most texts in a block.
        skips_empty: whether a row without a text is left out instead of raising.

    Raises:
        InvalidInputError: there is no such column, or none of that type, or the file cannot be read as what it is
            called.
        OSError: the file cannot be read.
    """

    def __init__(
        self, path: Path, *, text_column: str, id_column: str | None, block_rows: int, skips_empty: bool
    ) -> None:
        if block_rows < 1:
            raise InvalidInputError(f"a block has at least 1 row, not {block_rows}")
        self.path = path
        self.text_column = text_column
        self.id_column = id_column
        self._block_rows = block_rows
        self._skips_empty = skips_empty
        self._file = open_corpus_file(path)
        for column in (text_column, id_column):
            if column is not None:
                _check_column(self._file, column)
        self.key = (
            pa.field(ROW_COLUMN, pa.int64())
            if id_column is None
            else pa.field(id_column, _id_type(self._file, id_column))
        )

    @property
    def size(self) -> int:
        """How much there is to read: rows of a Parquet file, bytes of any other."""
        return self._file.size

    def blocks(self, *, start: int = 0) -> Iterator[Block]:
        """Read the corpus; one block is held.

        Args:
            start: row at which to begin, where a block ended.

        Yields:
            Blocks of at least one text.

        Raises:
            InvalidInputError: a row has no text, or an id of another type, or the file is damaged.
        """
        columns = [self.text_column] if self.id_column is None else [self.text_column, self.id_column]
        first, begin, end, characters = start, 0, 0, 0
        rows: list[int] = []
        texts: list[str] = []
        ids: list[object] = []

        def block(stop: int) -> Block:
            return Block(
                start=first,
                stop=stop,
                rows=rows,
                texts=texts,
                keys=self._keys(rows, ids),
                begin=begin,
                end=end,
            )

        row = -1
        for row, (position, values) in enumerate(self._file.rows(columns)):
            if row < start:
                begin = position
                continue
            end = position
            text = self._text(row, values[0])
            if text is None:
                continue
            rows.append(row)
            texts.append(text)
            ids.append(values[-1])
            characters += len(text)
            if len(texts) == self._block_rows or characters >= _MAX_CHARACTERS:
                yield block(row + 1)
                first, begin, characters, rows, texts, ids = row + 1, end, 0, [], [], []
        if texts:
            yield block(row + 1)

    def _text(self, row: int, value: object) -> str | None:
        """Return a row's text, or None for one to leave out."""
        where = f"{self.path}, row {row} (the first is 0), column {self.text_column!r}"
        if value is None or (isinstance(value, str) and not value.strip()):
            if self._skips_empty:
                return None
            problem = "there is no text" if value is None else "the text is blank"
            raise InvalidInputError(f"{where}: {problem}; add --skip-empty to leave such rows out of a .parquet")
        return checked_text(value, what=f"{where}: the value")

    def _keys(self, rows: list[int], ids: list[object]) -> pa.Array:
        if self.id_column is None:
            return pa.array(rows, self.key.type)
        try:
            return pa.array(ids, self.key.type)
        except (OverflowError, pa.ArrowException) as error:
            raise InvalidInputError(
                f"{self.path}, rows {rows[0]} to {rows[-1]}: an id in column {self.id_column!r} is not "
                f"{self.key.type}, as the first one is ({error})"
            ) from None


def _check_column(file: CorpusFile, column: str) -> None:
    if not file.columns:
        raise InvalidInputError(f"{file.path} holds no rows")
    if file.columns.count(column) != 1:
        problem = "more than one column" if column in file.columns else "no column"
        raise InvalidInputError(f"{file.path} has {problem} {column!r}; there are: {', '.join(file.columns)}")


def _id_type(file: CorpusFile, column: str) -> pa.DataType:
    found = file.type_of(column)
    is_fit = pa.types.is_integer(found) or pa.types.is_string(found) or pa.types.is_large_string(found)
    if not is_fit:
        raise InvalidInputError(
            f"{file.path}: column {column!r} holds {found}, but ids are text or whole numbers; name another with "
            "--id-column, or none to have the rows numbered"
        )
    return found
