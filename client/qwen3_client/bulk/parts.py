"""What is finished of a job, kept in a folder until all is there.

    vectors.parquet.parts/
      job.json                               what is done to what; another job is refused
      rows-000000000000-000000004096.arrow   one file a block, which tells the rows of the corpus that it covers
      texts-000000004096-0000.arrow          some texts of the block that begins at that row and is not finished
      lock                                   held by the process that works on the job

A file is on the disk before what it holds counts as kept, so a kill at any moment loses what was on its way and
nothing else. This module knows nothing about what the tables hold.
"""

import contextlib
import fcntl
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from ..durable_file import durable_file
from ..errors import InvalidInputError

_JOB = "job.json"
_LOCK = "lock"
_NAME = re.compile(r"rows-(\d{12,})-(\d{12,})\.arrow")
_PIECE_NAME = re.compile(r"texts-(\d{12,})-(\d{4,})\.arrow")


class Parts:
    """The blocks of one job, in the order of the corpus, and pieces of those that follow. Made by `open_parts`.

    Attributes:
        folder: where they are.
        next_row: the first row of the corpus that is in no block.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.next_row = 0
        self._files: list[Path] = []
        self._pieces: list[tuple[int, Path]] = []  # the first row of its block, and the file
        for path in sorted(folder.glob("rows-*.arrow")):
            covered = _NAME.fullmatch(path.name)
            if covered is None or int(covered[1]) != self.next_row:
                raise InvalidInputError(f"{folder} is damaged: {path.name} does not begin at row {self.next_row}")
            self.next_row = int(covered[2])
            self._files.append(path)
        for path in sorted(folder.glob("texts-*.arrow")):
            name = _PIECE_NAME.fullmatch(path.name)
            if name is None:
                raise InvalidInputError(f"{folder} is damaged: {path.name} does not name a row")
            self._pieces.append((int(name[1]), path))
        self._remove_pieces_before(self.next_row)  # a kill came before their block's own file could replace them

    def __len__(self) -> int:
        return len(self._files)

    @property
    def texts(self) -> int:
        """How many texts are in the blocks and pieces."""
        return sum(_read(path).num_rows for path in [*self._files, *(path for _, path in self._pieces)])

    def add(self, table: pa.Table, *, stop: int) -> None:
        """Keep a finished block, in place of its pieces; it is on the disk when this returns.

        Args:
            table: what was made of it.
            stop: the row after its last; its first one is `next_row`.
        """
        path = self.folder / f"rows-{self.next_row:012}-{stop:012}.arrow"
        self._write(path, table)
        self._files.append(path)
        self.next_row = stop
        self._remove_pieces_before(stop)

    def add_piece(self, table: pa.Table, *, start: int) -> None:
        """Keep some texts of a block that is not finished; they are on the disk when this returns.

        Args:
            table: what was made of them.
            start: the first row of the block.
        """
        number = sum(first == start for first, _ in self._pieces)
        path = self.folder / f"texts-{start:012}-{number:04}.arrow"
        self._write(path, table)
        self._pieces.append((start, path))

    def tables(self) -> Iterator[pa.Table]:
        """Yield what was made of each block, mapped from its file."""
        yield from map(_read, self._files)

    def pieces(self, start: int) -> Iterator[pa.Table]:
        """Yield what is kept of the block that begins at a row, mapped from its files."""
        yield from (_read(path) for first, path in self._pieces if first == start)

    def partial(self, name: str) -> Path:
        """Return the path of a file that is being written: the next run removes what a killed one left of it."""
        return self.folder / f"{name}.part"

    def remove(self) -> None:
        """Remove the folder and all that a job keeps there."""
        # The job first: without it, what a kill leaves here is known to be worth nothing.
        (self.folder / _JOB).unlink(missing_ok=True)
        _remove_parts(self.folder)
        (self.folder / _LOCK).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # holds files that are not ours
            self.folder.rmdir()
        self._files.clear()
        self._pieces.clear()
        self.next_row = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is neither a block nor a piece of one."""
        return not self._files and not self._pieces

    def _write(self, path: Path, table: pa.Table) -> None:
        with durable_file(path, partial=self.partial(path.name)) as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)

    def _remove_pieces_before(self, row: int) -> None:
        for start, path in self._pieces:
            if start < row:
                path.unlink()
        self._pieces = [(start, path) for start, path in self._pieces if start >= row]


@contextlib.contextmanager
def open_parts(folder: Path, *, job: Mapping[str, object], restarts: bool = False) -> Iterator[Parts]:
    """Open the folder of a job, or begins one there.

    A folder in which nothing is kept is removed at the end.

    Args:
        folder: where the blocks are kept; its parent exists.
        job: what is done to what, as JSON can hold it.
        restarts: whether what is there is given up.

    Raises:
        InvalidInputError: the folder holds another job, or another process works on it.
        OSError: the folder cannot be read or written.
    """
    folder.mkdir(exist_ok=True)
    with (folder / _LOCK).open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidInputError(f"another process works on {folder}: wait for it, or stop it") from None
        for left in folder.glob("*.part"):
            left.unlink()
        job_path = folder / _JOB
        if restarts:
            job_path.unlink(missing_ok=True)
        if job_path.exists():
            _check_same(folder, job)
        else:
            _remove_parts(folder)
            with durable_file(job_path, partial=folder / f"{_JOB}.part") as file:
                file.write(json.dumps(job, indent=2, ensure_ascii=False).encode())
        parts = Parts(folder)
        try:
            yield parts
        finally:
            if parts.is_empty:
                parts.remove()


def _read(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
        return reader.read_all()


def _check_same(folder: Path, job: Mapping[str, object]) -> None:
    try:
        kept = json.loads((folder / _JOB).read_bytes())
    except ValueError:
        kept = None
    if not isinstance(kept, dict):
        raise InvalidInputError(f"{folder / _JOB} is damaged; add --restart to start over")
    names = [*kept, *(name for name in job if name not in kept)]
    changes = [
        f"{name} was {kept.get(name)!r}, is {job.get(name)!r}" for name in names if kept.get(name) != job.get(name)
    ]
    if changes:
        raise InvalidInputError(
            f"{folder} holds the unfinished work of another job: {'; '.join(changes)}. Run that one again to finish "
            "it, add --restart to give it up, or choose another --output"
        )


def _remove_parts(folder: Path) -> None:
    for pattern in ("rows-*.arrow", "texts-*.arrow", "*.part"):
        for path in folder.glob(pattern):
            path.unlink()
