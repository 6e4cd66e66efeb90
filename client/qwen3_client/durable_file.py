"""A file that appears whole or not at all, and is on the disk once it has appeared."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def durable_file(path: Path, *, partial: Path | None = None) -> Iterator[IO[bytes]]:
    """Open a file for writing, which takes its name when the block ends without an error.

    Args:
        path: the file; one that is there is replaced at the end.
        partial: what it is called until then, on the same file system; None for a hidden name beside it. One that
            a killed process left there is overwritten.

    Raises:
        OSError: the file cannot be written.
    """
    partial = partial or path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        # The new name is in the folder, which is written to the disk on its own.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        partial.unlink(missing_ok=True)
