"""Which outputs of a command would destroy what it reads."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from .errors import UsageError

_STDIN, _STDOUT = 0, 1


def is_same_file(one: Path, other: Path) -> bool:
    """Says whether two paths lead to one file, through symbolic and hard links too; False where one does not exist."""
    try:
        return one.samefile(other) or one.resolve() == other.resolve()
    except OSError:
        return False


def refuse_overwriting(output: Path, inputs: Mapping[str, str | None]) -> None:
    """Refuses a file to write that is one to read.

    Args:
        output: the file to write.
        inputs: paths of the files to read, by what the user calls them; None for none, "-" for stdin.

    Raises:
        UsageError: they are the same file.
    """
    for name, path in inputs.items():
        if path is not None and (_is_stream(_STDIN, output) if path == "-" else is_same_file(output, Path(path))):
            raise UsageError(f"cannot write {output}: it is the same file as {name}, and would be lost; choose another")


def refuse_appending_to_input(inputs: Mapping[str, str | None]) -> None:
    """Refuses a stdout that is a file to read, as `>>` of the shell makes it: reading would never end.

    Args:
        inputs: as for `refuse_overwriting`.

    Raises:
        UsageError: they are the same file.
    """
    for name, path in inputs.items():
        if path is not None and path != "-" and _is_stream(_STDOUT, Path(path)):
            raise UsageError(f"cannot write to stdout: it is the same file as {name}; choose another")


def _is_stream(number: int, path: Path) -> bool:
    """Says whether a path leads to the file that a standard stream of the process reads or writes."""
    try:
        found, stream = path.stat(), os.fstat(number)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and os.path.samestat(found, stream)
