"""What the commands that talk to a server share: its URL, credentials, texts, and failures in one line."""

import argparse
import contextlib
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from ._client import Client
    from ._contract import ModelInfo
    from ._credentials import Tls

__all__ = [
    "URL_VARIABLE",
    "GivenCredentials",
    "UsageError",
    "add_connection_arguments",
    "add_server_arguments",
    "credentials_of",
    "dimensions_of",
    "in_options",
    "open_client",
    "open_texts",
    "run_in_one_line",
]

URL_VARIABLE = "QWEN3_TRITON_URL"
_URL = "localhost:8001"

# The options that stand for parameters of the client, which its messages name.
_OPTIONS = {
    "ca": "--ca",
    "certificate": "--certificate",
    "headers": "--header-file",
    "key": "--key",
    "model": "--model",
    "reranker": "--model",
    "reranker_tokenizer": "--tokenizer",
    "timeout_s": "--timeout",
    "tls": "--ca",
    "token": "--token-file",
    "tokenizer": "--tokenizer",
}
_PARAMETER = re.compile(rf"\b({'|'.join(_OPTIONS)})=(?=(['<])?)")


class UsageError(Exception):
    """The arguments contradict one another; nothing was sent."""


def add_server_arguments(parser: argparse.ArgumentParser, *, noun: str) -> None:
    """Declares where the server is, and which of its models to use.

    Args:
        parser: the command's.
        noun: what the command calls its kind of model.
    """
    add_connection_arguments(parser)
    parser.add_argument(
        "--model", metavar="NAME", help=f"the {noun}'s name on the server (default: the only {noun} there)"
    )
    parser.add_argument("--tokenizer", help="folder with tokenizer.json, or Hub id (default: what the server names)")
    parser.add_argument(
        "--timeout", type=float, default=300.0, metavar="S", help="seconds for each request (%(default)g)"
    )


def add_connection_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares where the server is, and what shows it who we are."""
    parser.add_argument(
        "--url",
        default=os.environ.get(URL_VARIABLE) or _URL,
        help=f"host:port of gRPC, or http://host:port (default: what {URL_VARIABLE} holds, or else {_URL})",
    )
    parser.add_argument("--token-file", metavar="PATH", help="file with a bearer token to send with every request")
    parser.add_argument(
        "--header-file", metavar="PATH", help="file with more headers of every request, one 'name: value' a line"
    )
    parser.add_argument("--ca", metavar="PEM", help="authorities that vouch for a grpcs:// or https:// server")
    parser.add_argument("--certificate", metavar="PEM", help="this client's certificate, where the server asks for one")
    parser.add_argument("--key", metavar="PEM", help="its private key")


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenCredentials:
    """What the arguments of `add_connection_arguments` hold, as `Client` takes it."""

    tls: "Tls | None"
    token: str | None
    headers: dict[str, str]


def credentials_of(args: argparse.Namespace) -> GivenCredentials:
    """Reads the files that the arguments name.

    Raises:
        UsageError: a line of the file with headers is none.
        InvalidInputError: certificate and key do not come together.
        OSError: a file cannot be read.
    """
    from ._credentials import Tls

    named = {"ca": args.ca, "certificate": args.certificate, "key": args.key}
    headers = {}
    for line in [] if args.header_file is None else Path(args.header_file).read_text(encoding="utf-8").splitlines():
        name, colon, value = line.partition(":")
        if line.strip():
            if not colon:
                raise UsageError(f"{args.header_file}: a line is no 'name: value'")
            headers[name.strip()] = value.strip()
    return GivenCredentials(
        tls=Tls(**named) if any(named.values()) else None,
        token=None if args.token_file is None else Path(args.token_file).read_text(encoding="utf-8").strip(),
        headers=headers,
    )


def open_client(args: argparse.Namespace, *, noun: str) -> "Client":
    """Returns a client for the server that the arguments name.

    Args:
        args: the command's.
        noun: as for `add_server_arguments`.

    Raises:
        UsageError: an option's value makes no sense, or the file with headers holds something else.
        InvalidInputError: an argument cannot be used.
        OSError: a file cannot be read.
    """
    from ._client import Client

    if args.model == "":
        raise UsageError(f"--model must not be empty: leave it out to use the only {noun} there")
    if not 0 < args.timeout < math.inf:
        raise UsageError(f"--timeout must be a positive number of seconds, not {args.timeout:g}")
    given = credentials_of(args)
    is_reranker = noun == "reranker"
    return Client(
        args.url,
        model=None if is_reranker else args.model,
        tokenizer=None if is_reranker else args.tokenizer,
        reranker=args.model if is_reranker else None,
        reranker_tokenizer=args.tokenizer if is_reranker else None,
        timeout_s=args.timeout,
        tls=given.tls,
        token=given.token,
        headers=given.headers,
    )


def dimensions_of(args: argparse.Namespace, info: "ModelInfo") -> int:
    """Returns the length of the vectors that the arguments ask for.

    Raises:
        UsageError: the model has no such vectors.
    """
    from ._contract import MIN_DIMENSIONS

    if args.dimensions is None:
        return info.dimensions
    dimensions: int = args.dimensions
    if not MIN_DIMENSIONS <= dimensions <= info.dimensions:
        raise UsageError(f"--dimensions must be from {MIN_DIMENSIONS} to {info.dimensions}, not {dimensions}")
    return dimensions


@contextlib.contextmanager
def open_texts(texts: Sequence[str], *, file: str | None, noun: str) -> Iterator[Iterator[str]]:
    """Gives the texts of the command: its arguments, or without any the lines of a file.

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


def run_in_one_line(command: str, action: Callable[[], object]) -> int:
    """Does what the command is for, and says what failed in one line on stderr.

    Args:
        command: the command's name.
        action: what it does.

    Returns:
        The exit status: 0, or 1 when something failed, or 2 when the arguments make no sense.
    """
    from ._errors import Qwen3ClientError

    try:
        action()
    except UsageError as error:
        return _complain(command, str(error), status=2)
    except Qwen3ClientError as error:
        return _complain(command, in_options(str(error)), status=1)
    except BrokenPipeError:
        # The reader of stdout has enough (`| head`). Python would complain again when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        said = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return _complain(command, said, status=1)
    return 0


def in_options(message: str) -> str:
    """Says a message of the client, which names parameters (`model=`), with the options of the commands (`--model`)."""
    named = _PARAMETER.sub(lambda found: _OPTIONS[found[1]] + (" " if found[2] else ""), message)
    return re.sub(r"(--[a-z-]+) or \1\b", r"\1", named)


def _lines(file: IO[bytes], *, name: str, noun: str) -> Iterator[str]:
    """Yields the lines of a UTF-8 file without their ends. CRLF and a byte order mark are fine."""
    from ._errors import InvalidInputError

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


def _complain(command: str, message: str, *, status: int) -> int:
    # One line, whatever a server put into its message.
    print(f"qwen3-triton {command}: {' '.join(message.split())}", file=sys.stderr)
    return status
