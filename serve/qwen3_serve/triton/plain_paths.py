"""Paths that Triton's python backend can use, whatever the user's own paths look like.

The backend starts its worker through a shell and puts the paths of the worker and of the model into the command as they
are: a space ends the path there, and the worker's Python reads a letter outside ASCII wrong. So what has such a path is
reached through a link that has none, in a temporary folder.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from ..errors import ServeError

_PLAIN = re.compile(r"[A-Za-z0-9/._+@%=,-]+")
_SYSTEM_FOLDERS = ("/tmp", "/var/tmp")  # noqa: S108 - a folder of our own is made in it


def is_plain(path: Path) -> bool:
    """Whether a path means the same to a shell, to Python in any locale, and in a list with colons."""
    return _PLAIN.fullmatch(str(path)) is not None


def make_scratch() -> tempfile.TemporaryDirectory[str]:
    """Make a temporary folder with a plain path.

    Raises:
        ServeError: There is no place for one.
    """
    for folder in (tempfile.gettempdir(), *_SYSTEM_FOLDERS):
        if is_plain(Path(folder)) and os.access(folder, os.W_OK | os.X_OK):
            return tempfile.TemporaryDirectory(prefix="qwen3-triton-", dir=folder)
    raise ServeError(
        f"Triton needs a temporary folder whose path has no spaces and no letters outside ASCII, and neither "
        f"{tempfile.gettempdir()} nor {' nor '.join(_SYSTEM_FOLDERS)} will do; set TMPDIR to one"
    )


def plain_path(path: Path, *, scratch: Path, name: str) -> Path:
    """Return an absolute path as it is if it is plain, else a new link to it.

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
