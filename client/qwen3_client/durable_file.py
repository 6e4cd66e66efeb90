"""A file that appears complete or not at all, and is safely on the disk when it appears.

This module knows nothing about what the file holds.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def durable_file(path: Path, *, partial: Path | None = None) -> Iterator[IO[bytes]]:
    """Open a file for writing, which gets its name when the block ends without an error.

    Args:
        path: the file. An existing file is replaced at the end.
        partial: its path until then, on the same file system; None for a hidden file in the same folder. A file that a
            killed process left there is overwritten.

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
        # The new name is an entry of the folder, which must be flushed to the disk separately.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        partial.unlink(missing_ok=True)
