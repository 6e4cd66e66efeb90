"""The texts of a command: its arguments, or the lines of a file or of stdin.

This module knows nothing about what a command does with them.
"""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from .errors import UsageError


@contextlib.contextmanager
def open_texts(texts: Sequence[str], *, file: str | None, noun: str) -> Iterator[Iterator[str]]:
    """Provide the texts of a command: its arguments or, if there are none, the lines of a file.

    Args:
        texts: the arguments.
        file: path of a UTF-8 file with one text per line; "-" or None for stdin.
        noun: what to call a text in messages.

    Yields:
        An iterator over the texts.

    Raises:
        UsageError: there are both arguments and a file; or, raised by the iterator at its end, there are no texts.
        InvalidInputError: a line is blank or not UTF-8; raised by the iterator when it reads that line.
        OSError: the file cannot be read.
    """
    if texts and file is not None:
        raise UsageError(f"give {noun}s as arguments or in --file, not both")
    if texts:
        yield iter(texts)
    elif file is None or file == "-":
        if sys.stdin.isatty():
            print(f"reading {noun}s from the keyboard, one per line; Ctrl-D ends the input", file=sys.stderr)
        yield _lines(sys.stdin.buffer, name="stdin", noun=noun)
    else:
        with Path(file).open("rb") as opened:
            yield _lines(opened, name=file, noun=noun)


def _lines(file: IO[bytes], *, name: str, noun: str) -> Iterator[str]:
    """Yield the lines of a UTF-8 file without their line ends, which may be CRLF, and without a byte order mark."""
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
        raise UsageError(f"there are no {noun}s: give them as arguments, in --file, or on stdin")
