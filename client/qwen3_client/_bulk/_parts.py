"""The finished blocks of a job, kept in a folder until all are there.

    vectors.parquet.parts/
      job.json                               what is done to what; another job is refused
      rows-000000000000-000000004096.arrow   one file a block, which tells the rows of the corpus that it covers
          lock                                   held by the process that works on the job

A file is on the disk before the next block counts as begun, so a kill at any moment loses the blocks that were on
their way and nothing else. This module knows nothing about what the tables hold.
"""

import contextlib
import fcntl
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from .._durable_file import durable_file
from .._errors import InvalidInputError

__all__ = ["Parts", "open_parts"]

_JOB = "job.json"
_LOCK = "lock"
_NAME = re.compile(r"rows-(\d{12,})-(\d{12,})\.arrow")


class Parts:
    """The blocks of one job, in the order of the corpus. Made by `open_parts`.

    Attributes:
        folder: where they are.
        next_row: the first row of the corpus that is in none of them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.next_row = 0
        self._files: list[Path] = []
        for path in sorted(folder.glob("rows-*.arrow")):
            covered = _NAME.fullmatch(path.name)
            if covered is None or int(covered[1]) != self.next_row:
                raise InvalidInputError(f"{folder} is damaged: {path.name} does not begin at row {self.next_row}")
            self.next_row = int(covered[2])
            self._files.append(path)

    def __len__(self) -> int:
        return len(self._files)

    def add(self, table: pa.Table, *, stop: int) -> None:
        """Keeps a finished block; it is on the disk when this returns.

        Args:
            table: what was made of it.
            stop: the row after its last; its first one is `next_row`.
        """
        path = self.folder / f"rows-{self.next_row:012}-{stop:012}.arrow"
        with durable_file(path, partial=self.partial(path.name)) as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        self._files.append(path)
        self.next_row = stop

    def tables(self) -> Iterator[pa.Table]:
        """Yields what was made of each block, mapped from its file."""
        for path in self._files:
            with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
                yield reader.read_all()

    def partial(self, name: str) -> Path:
        """Returns the path of a file that is being written: the next run removes what a killed one left of it."""
        return self.folder / f"{name}.part"

    def remove(self) -> None:
        """Removes the folder and all that a job keeps there."""
        # The job first: without it, what a kill leaves here is known to be worth nothing.
        (self.folder / _JOB).unlink(missing_ok=True)
        _remove_parts(self.folder)
        (self.folder / _LOCK).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # holds files that are not ours
            self.folder.rmdir()
        self._files.clear()
        self.next_row = 0


@contextlib.contextmanager
def open_parts(folder: Path, *, job: Mapping[str, object], restarts: bool = False) -> Iterator[Parts]:
    """Opens the folder of a job, or begins one there.

    A folder in which no block was finished is removed at the end.

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
            if not parts:
                parts.remove()


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
    for pattern in ("rows-*.arrow", "*.part"):
        for path in folder.glob(pattern):
            path.unlink()
