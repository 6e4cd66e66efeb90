"""Checks that a command does not write to a file that it reads.

This module knows nothing about what the files hold.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from .errors import UsageError

_STDIN, _STDOUT = 0, 1


def is_same_file(one: Path, other: Path) -> bool:
    """Return whether both paths exist and lead to one file, directly or through symbolic or hard links."""
    try:
        return one.samefile(other) or one.resolve() == other.resolve()
    except OSError:
        return False


def refuse_overwriting(output: Path, inputs: Mapping[str, str | None]) -> None:
    """Refuse an output that is also an input.

    Args:
        output: the file to write.
        inputs: paths of the files to read, by the names that the user knows them by; None if a file is not given, "-"
            for stdin.

    Raises:
        UsageError: an input is the same file.
    """
    for name, path in inputs.items():
        if path is not None and (_is_stream(_STDIN, output) if path == "-" else is_same_file(output, Path(path))):
            raise UsageError(
                f"cannot write {output}: it is the same file as {name}, which would be lost; choose another file"
            )


def refuse_appending_to_input(inputs: Mapping[str, str | None]) -> None:
    """Refuse a stdout that the shell's `>>` appends to an input: the command would read its own output without end.

    Args:
        inputs: as for `refuse_overwriting`.

    Raises:
        UsageError: an input is the same file.
    """
    for name, path in inputs.items():
        if path is not None and path != "-" and _is_stream(_STDOUT, Path(path)):
            raise UsageError(f"cannot write to stdout: it is the same file as {name}; choose another file")


def _is_stream(number: int, path: Path) -> bool:
    """Return whether a path is the regular file to which a standard stream of this process is redirected."""
    try:
        found, stream = path.stat(), os.fstat(number)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and os.path.samestat(found, stream)
