"""Paths that Triton's python backend can use, whatever characters the user's own paths have.

The backend starts its worker through a shell and puts the paths of the worker and of the model into the command without
quotes: a space ends the path there, and the worker's Python decodes a letter outside ASCII wrongly. So a folder with
such a path is reached through a symbolic link in a temporary folder.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from ..errors import ServeError

_PLAIN = re.compile(r"[A-Za-z0-9/._+@%=,-]+")
_SYSTEM_FOLDERS = ("/tmp", "/var/tmp")  # noqa: S108 - a private folder is made in it


def is_plain(path: Path) -> bool:
    """Return whether a path is the same to a shell, to Python in any locale, and in a list separated by colons."""
    return _PLAIN.fullmatch(str(path)) is not None


def make_scratch() -> tempfile.TemporaryDirectory[str]:
    """Make a temporary folder with a plain path.

    Raises:
        ServeError: No writable folder has a plain path.
    """
    for folder in (tempfile.gettempdir(), *_SYSTEM_FOLDERS):
        if is_plain(Path(folder)) and os.access(folder, os.W_OK | os.X_OK):
            return tempfile.TemporaryDirectory(prefix="qwen3-triton-", dir=folder)
    raise ServeError(
        f"Triton needs a temporary folder whose path has no spaces and no letters outside ASCII, and neither "
        f"{tempfile.gettempdir()} nor {' nor '.join(_SYSTEM_FOLDERS)} can be used; set TMPDIR to such a folder"
    )


def plain_path(path: Path, *, scratch: Path, name: str) -> Path:
    """Return an absolute path if it is plain, else a new symbolic link to it.

    Args:
        path: An absolute path.
        scratch: The folder for the link.
        name: The link's name.
    """
    if is_plain(path):
        return path
    link = scratch / name
    link.symlink_to(path)
    return link
