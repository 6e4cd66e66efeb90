"""A corpus: the texts in a column of a file, with their ids, in blocks.

A block is embedded and kept as a unit. Where it ends depends only on the file and the block size, so that a resumed job
has the same blocks as an uninterrupted one. This module knows nothing about tokens or vectors.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from ..errors import InvalidInputError
from ..inputs import checked_text
from .corpus_files import CorpusFile, open_corpus_file

ROW_COLUMN = "row"  # the name of the output's id column if the corpus has none

# The most characters in a block, so that a block of long documents has fewer rows. 8 million characters are about
# 2 million tokens, and take 8 to 32 MB of memory.
_MAX_CHARACTERS = 8_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Consecutive rows of a corpus.

    Attributes:
        start: index of the first row, from 0.
        stop: index of the row after the last.
        rows: the row of each text; rows without a text may have been left out.
        texts: the texts.
        keys: the key of each text, which is its id or its row.
        begin: how much of the file precedes the block, in units of `Corpus.size`.
        end: how much of the file has been read at its end, in the same units.
    """

    start: int
    stop: int
    rows: list[int]
    texts: list[str]
    keys: pa.Array
    begin: int
    end: int


class Corpus:
    """The corpus in a file.

    Args:
        path: a file with one of `corpus_files.SUFFIXES`.
        text_column: the column that holds the texts.
        id_column: the column that holds their ids, strings or integers; None to use the rows as ids.
        block_rows: maximum number of texts in a block.
        skips_empty: whether rows without a text are left out; False to raise an error instead.

    Attributes:
        known: ids whose rows are left out; a corpus without ids has none.

    Raises:
        InvalidInputError: there is no such column, it has another type, or the file is not what its suffix says.
        OSError: the file cannot be read.
    """

    def __init__(
        self, path: Path, *, text_column: str, id_column: str | None, block_rows: int, skips_empty: bool
    ) -> None:
        if block_rows < 1:
            raise InvalidInputError(f"a block must have at least 1 row, not {block_rows}")
        self.path = path
        self.text_column = text_column
        self.id_column = id_column
        self._block_rows = block_rows
        self._skips_empty = skips_empty
        self.known: Collection[object] = ()
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
        """The size of the file: rows if it is Parquet, else bytes."""
        return self._file.size

    def check_ids(self) -> None:
        """Make sure that each text of the corpus has an id of its own. Reads the file once; the ids are held in memory.

        Raises:
            InvalidInputError: an id is missing, or is there twice; or as `blocks`.
        """
        assert self.id_column is not None  # noqa: S101 - a corpus without ids has none to check
        seen = set[object]()
        for row, (_, (text, key)) in enumerate(self._file.rows([self.text_column, self.id_column])):
            if self._text(row, text) is None:
                continue
            if key is None or key in seen:
                problem = "there is no id" if key is None else f"the id {key!r} is there twice"
                raise InvalidInputError(
                    f"{self.path}, row {row} (the first is 0), column {self.id_column!r}: {problem}; a table needs "
                    "unique ids"
                )
            seen.add(key)

    def blocks(self, *, start: int = 0) -> Iterator[Block]:
        """Read the corpus block by block. One block is held in memory.

        Args:
            start: the row to start at, which is `stop` of an earlier block.

        Yields:
            Blocks of at least one text.

        Raises:
            InvalidInputError: a row has no text or an id of another type, or the file is damaged.
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
            if values[-1] is None and self.known:
                raise InvalidInputError(
                    f"{self.path}, row {row} (the first is 0): there is no id in column {self.id_column!r}, so it is "
                    "not known whether the row is new; give it one"
                )
            if values[-1] in self.known:
                continue
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
        """Return the text of a row, or None if the row is to be left out."""
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
            f"{file.path}: column {column!r} holds {found}, but ids are strings or integers; name another column with "
            "--id-column, or leave that out to use the row numbers"
        )
    return found
