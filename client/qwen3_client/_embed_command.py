"""`qwen3-triton embed`: texts from the command line, a file or stdin to vectors on stdout or in a file."""

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from ._client import Client

__all__ = ["EXTRA", "HELP", "add_arguments", "run"]

HELP = "embed texts with a running server"
EXTRA: str | None = None


class _UsageError(Exception):
    """The arguments contradict one another; nothing was sent."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="texts; without any, lines of --file or stdin")
    parser.add_argument("--file", metavar="PATH", help='UTF-8 file with a text per line; "-" is stdin')
    parser.add_argument("--url", default="localhost:8001", help="host:port of gRPC, or http://host:port (%(default)s)")
    parser.add_argument("--model", default="qwen3_embedding", help="the model's name on the server (%(default)s)")
    parser.add_argument("--tokenizer", help="folder with tokenizer.json, or Hub id (default: what the server names)")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--query", dest="kind", action="store_const", const="query", help="the texts are queries")
    kind.add_argument(
        "--document", dest="kind", action="store_const", const="document", help="... are documents (default)"
    )
    parser.set_defaults(kind="document")
    parser.add_argument("--instruction", help="task of the queries (default: the model's)")
    parser.add_argument("--dimensions", type=int, metavar="N", help="length of the vectors (default: the model's)")
    parser.add_argument(
        "--timeout", type=float, default=300.0, metavar="S", help="seconds for each request (%(default)g)"
    )
    parser.add_argument("--output", metavar="PATH", help="x.npy or x.jsonl; without it, JSON lines on stdout")


def run(args: argparse.Namespace) -> int:
    """Embeds the texts.

    Returns:
        0, or 1 when something failed, or 2 when the arguments make no sense.
    """
    from ._client import Client
    from ._errors import Qwen3ClientError

    try:
        output = _checked_output(args)
        # The file is opened before the server is asked: a wrong path should cost nothing.
        with (
            _open_texts(args) as texts,
            Client(args.url, model=args.model, tokenizer=args.tokenizer, timeout_s=args.timeout) as client,
        ):
            _embed(args, client, texts, output)
    except _UsageError as error:
        return _complain(str(error), status=2)
    except Qwen3ClientError as error:
        return _complain(str(error), status=1)
    except BrokenPipeError:
        # The reader of stdout has enough (`| head`). Python would complain again when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error), status=1)
    return 0


def _embed(args: argparse.Namespace, client: "Client", texts: Iterator[str], output: Path | None) -> None:
    from tqdm import tqdm

    from ._vector_files import json_line, vector_file
    from ._vectors import checked_dimensions

    started = time.monotonic()
    rows = client.encode_stream(texts, kind=args.kind, instruction=args.instruction, dimensions=args.dimensions)
    dimensions = checked_dimensions(args.dimensions, full=client.info.dimensions)
    count = 0
    with contextlib.ExitStack() as stack:
        write = stack.enter_context(vector_file(output, dimensions=dimensions)) if output else None
        # A bar and lines of JSON on one terminal would write over each other.
        is_quiet = not sys.stderr.isatty() or (write is None and sys.stdout.isatty())
        bar = stack.enter_context(tqdm(total=len(args.texts) or None, unit=" texts", file=sys.stderr, disable=is_quiet))
        for row in rows:
            if write is None:
                print(json_line(count, row), flush=True)
            else:
                write(row)
            count += 1
            bar.update()
        if count == 0:
            raise _UsageError("no texts: give some as arguments, in --file, or on stdin")
    seconds = time.monotonic() - started
    print(
        f"wrote {output or 'stdout'}: float32 [{count}, {dimensions}] in {seconds:.1f} s "
        f"({count / seconds:.1f} texts/s)",
        file=sys.stderr,
    )


def _checked_output(args: argparse.Namespace) -> Path | None:
    from ._vector_files import SUFFIXES

    if args.texts and args.file is not None:
        raise _UsageError("give texts as arguments or in --file, not both")
    if args.instruction is not None and args.kind != "query":
        raise _UsageError("--instruction is for queries: add --query")
    if args.output is None:
        return None
    output = Path(args.output)
    if output.suffix not in SUFFIXES:
        raise _UsageError(f"cannot write {output}: the name must end in {' or '.join(SUFFIXES)}")
    if not output.parent.is_dir():
        raise _UsageError(f"cannot write {output}: there is no folder {output.parent}")
    if output.is_dir():
        raise _UsageError(f"cannot write {output}: it is a folder")
    return output


@contextlib.contextmanager
def _open_texts(args: argparse.Namespace) -> Iterator[Iterator[str]]:
    if args.texts:
        yield iter(args.texts)
    elif args.file is None or args.file == "-":
        if sys.stdin.isatty():
            print("reading texts from the keyboard, one per line; Ctrl-D ends", file=sys.stderr)
        yield _lines(sys.stdin.buffer, name="stdin")
    else:
        with Path(args.file).open("rb") as file:
            yield _lines(file, name=args.file)


def _lines(file: IO[bytes], *, name: str) -> Iterator[str]:
    """Yields the lines of a UTF-8 file without their ends. CRLF and a byte order mark are fine."""
    from ._errors import InvalidInputError

    for number, line in enumerate(file, start=1):
        try:
            text = line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise InvalidInputError(f"{name}, line {number} is not UTF-8 ({error.reason}); convert the file") from None
        if not text.strip():
            raise InvalidInputError(f"{name}, line {number} is blank; remove it")
        yield text


def _complain(message: str, *, status: int) -> int:
    # One line, whatever a server put into its message.
    print(f"qwen3-triton embed: {' '.join(message.split())}", file=sys.stderr)
    return status
