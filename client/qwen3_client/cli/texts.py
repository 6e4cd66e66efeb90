"""The texts of a command: its arguments, or the lines of a file or of stdin."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from .errors import UsageError


@contextlib.contextmanager
def open_texts(texts: Sequence[str], *, file: str | None, noun: str) -> Iterator[Iterator[str]]:
    """Give the texts of the command: its arguments, or without any the lines of a file.

    Args:
        texts: the arguments.
        file: path of a UTF-8 file with a text per line; "-" or None for stdin.
        noun: what the command calls a text.

    Raises:
        UsageError: there are arguments and a file too, or, when the last text was read, no texts at all.
        InvalidInputError: a line is blank or not UTF-8, when it is read.
        OSError: the file cannot be read.
    """
    if texts and file is not None:
        raise UsageError(f"give {noun}s as arguments or in --file, not both")
    if texts:
        yield iter(texts)
    elif file is None or file == "-":
        if sys.stdin.isatty():
            print(f"reading {noun}s from the keyboard, one per line; Ctrl-D ends", file=sys.stderr)
        yield _lines(sys.stdin.buffer, name="stdin", noun=noun)
    else:
        with Path(file).open("rb") as opened:
            yield _lines(opened, name=file, noun=noun)


def _lines(file: IO[bytes], *, name: str, noun: str) -> Iterator[str]:
    """Yield the lines of a UTF-8 file without their ends. CRLF and a byte order mark are fine."""
    from ..errors import InvalidInputError

    number = 0
    for number, line in enumerate(file, start=1):
        try:
            text = line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise InvalidInputError(f"{name}, line {number} is not UTF-8 ({error.reason}); convert the file") from None
        if not text.strip():
            raise InvalidInputError(f"{name}, line {number} is blank; remove it")
        yield text
    if number == 0:
        raise UsageError(f"no {noun}s: give some as arguments, in --file, or on stdin")
