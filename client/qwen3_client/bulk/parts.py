"""The finished parts of a job, kept in a folder until the job is done.

    vectors.parquet.parts/
      job.json                               the description of the job; the folder is refused to other jobs
      rows-000000000000-000000004096.arrow   a finished block, named by its first row of the corpus and the row after it
      texts-000000004096-0000.arrow          a piece: some texts of the unfinished block that begins at that row
      lock                                   locked by the process that works on the job

A table counts as kept only when its file is on the disk, so a process that is killed at any moment loses nothing that
was kept. This module knows nothing about what the tables hold.
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

JOB = "job.json"
_LOCK = "lock"
_NAME = re.compile(r"rows-(\d{12,})-(\d{12,})\.arrow")
_PIECE_NAME = re.compile(r"texts-(\d{12,})-(\d{4,})\.arrow")


class Parts:
    """The finished blocks of one job, in the order of the corpus, and pieces of later blocks. Use `open_parts`.

    Attributes:
        folder: the folder that holds them.
        next_row: the first row of the corpus after the finished blocks.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.next_row = 0
        self._files: list[Path] = []
        self._pieces: list[tuple[int, Path]] = []  # the first row of the piece's block, and its file
        for path in sorted(folder.glob("rows-*.arrow")):
            covered = _NAME.fullmatch(path.name)
            if covered is None or int(covered[1]) != self.next_row:
                raise InvalidInputError(f"{folder} is damaged: {path.name} does not begin at row {self.next_row}")
            self.next_row = int(covered[2])
            self._files.append(path)
        for path in sorted(folder.glob("texts-*.arrow")):
            name = _PIECE_NAME.fullmatch(path.name)
            if name is None:
                raise InvalidInputError(f"{folder} is damaged: {path.name} has no row in its name")
            self._pieces.append((int(name[1]), path))
        self._remove_pieces_before(self.next_row)  # left if the process was killed just after it wrote their block

    def __len__(self) -> int:
        return len(self._files)

    @property
    def texts(self) -> int:
        """The number of texts in the blocks and pieces."""
        return sum(_read(path).num_rows for path in [*self._files, *(path for _, path in self._pieces)])

    def add(self, table: pa.Table, *, stop: int) -> None:
        """Keep a finished block, which replaces its pieces. It is on the disk when this returns.

        Args:
            table: the table to keep.
            stop: the row after the last one of the block. Its first row is `next_row`.
        """
        path = self.folder / f"rows-{self.next_row:012}-{stop:012}.arrow"
        self._write(path, table)
        self._files.append(path)
        self.next_row = stop
        self._remove_pieces_before(stop)

    def add_piece(self, table: pa.Table, *, start: int) -> None:
        """Keep a piece of a block that is not finished. It is on the disk when this returns.

        Args:
            table: the table to keep.
            start: the first row of the block.
        """
        number = sum(first == start for first, _ in self._pieces)
        path = self.folder / f"texts-{start:012}-{number:04}.arrow"
        self._write(path, table)
        self._pieces.append((start, path))

    def tables(self) -> Iterator[pa.Table]:
        """Yield the table of each finished block, as a memory map of its file."""
        yield from map(_read, self._files)

    def pieces(self, start: int) -> Iterator[pa.Table]:
        """Yield the pieces of the block that begins at row `start`, as memory maps of their files."""
        yield from (_read(path) for first, path in self._pieces if first == start)

    def partial(self, name: str) -> Path:
        """Return the path of a file until it is complete. The next run removes what a killed one left there."""
        return self.folder / f"{name}.part"

    def remove(self) -> None:
        """Remove the folder and everything that the job keeps there."""
        # The description goes first. Without it, files that are left if the process is killed here are not used again.
        (self.folder / JOB).unlink(missing_ok=True)
        _remove_parts(self.folder)
        (self.folder / _LOCK).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # the folder holds other files too
            self.folder.rmdir()
        self._files.clear()
        self._pieces.clear()
        self.next_row = 0

    @property
    def is_empty(self) -> bool:
        """Whether there are no blocks and no pieces."""
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
    """Open the folder of a job, to resume or to begin it.

    The folder is removed at the end if nothing is kept in it.

    Args:
        folder: the folder for the parts; its parent folder exists.
        job: the description of the job, of values that JSON can hold.
        restarts: whether to discard what is in the folder.

    Yields:
        The parts.

    Raises:
        InvalidInputError: the folder holds another job, or another process works on it.
        OSError: the folder cannot be read or written.
    """
    folder.mkdir(exist_ok=True)
    with (folder / _LOCK).open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidInputError(
                f"another process works on {folder}: wait until it has finished, or stop it"
            ) from None
        for left in folder.glob("*.part"):
            left.unlink()
        job_path = folder / JOB
        if restarts:
            job_path.unlink(missing_ok=True)
        if job_path.exists():
            _check_same(folder, job)
        else:
            _remove_parts(folder)
            with durable_file(job_path, partial=folder / f"{JOB}.part") as file:
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
        kept = json.loads((folder / JOB).read_bytes())
    except ValueError:
        kept = None
    if not isinstance(kept, dict):
        raise InvalidInputError(f"{folder / JOB} is damaged; add --restart to start over")
    names = [*kept, *(name for name in job if name not in kept)]
    changes = [
        f"{name} was {kept.get(name)!r}, is {job.get(name)!r}" for name in names if kept.get(name) != job.get(name)
    ]
    if changes:
        raise InvalidInputError(
            f"{folder} holds the unfinished work of another job: {'; '.join(changes)}. Run that job again to finish "
            "it, add --restart to discard it, or choose another --output"
        )


def _remove_parts(folder: Path) -> None:
    for pattern in ("rows-*.arrow", "texts-*.arrow", "*.part"):
        for path in folder.glob(pattern):
            path.unlink()
