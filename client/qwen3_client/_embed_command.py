"""`qwen3-triton embed`: texts from the command line, a file or stdin to vectors on stdout or in a file."""

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ._command import UsageError, add_server_arguments, open_texts, run_in_one_line

if TYPE_CHECKING:
    from ._client import Client

__all__ = ["EXTRA", "HELP", "add_arguments", "run"]

HELP = "embed texts with a running server"
EXTRA: str | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="texts; without any, lines of --file or stdin")
    parser.add_argument("--file", metavar="PATH", help='UTF-8 file with a text per line; "-" is stdin')
    add_server_arguments(parser, noun="embedding model")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--query", dest="kind", action="store_const", const="query", help="the texts are queries")
    kind.add_argument(
        "--document", dest="kind", action="store_const", const="document", help="... are documents (default)"
    )
    parser.set_defaults(kind="document")
    parser.add_argument("--instruction", help="task of the queries (default: the model's)")
    parser.add_argument("--dimensions", type=int, metavar="N", help="length of the vectors (default: the model's)")
    parser.add_argument("--output", metavar="PATH", help="x.npy or x.jsonl; without it, JSON lines on stdout")


def run(args: argparse.Namespace) -> int:
    """Embeds the texts.

    Returns:
        0, or 1 when something failed, or 2 when the arguments make no sense.
    """
    from ._client import Client

    def embed() -> None:
        output = _checked_output(args)
        # The file is opened before the server is asked: a wrong path should cost nothing.
        with (
            open_texts(args.texts, file=args.file, noun="text") as texts,
            Client(args.url, model=args.model, tokenizer=args.tokenizer, timeout_s=args.timeout) as client,
        ):
            _embed(args, client, texts, output)

    return run_in_one_line("embed", embed)


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
    seconds = time.monotonic() - started
    print(
        f"wrote {output or 'stdout'}: float32 [{count}, {dimensions}] in {seconds:.1f} s "
        f"({count / seconds:.1f} texts/s)",
        file=sys.stderr,
    )


def _checked_output(args: argparse.Namespace) -> Path | None:
    from ._vector_files import SUFFIXES

    if args.instruction is not None and args.kind != "query":
        raise UsageError("--instruction is for queries: add --query")
    if args.output is None:
        return None
    output = Path(args.output)
    if output.suffix not in SUFFIXES:
        raise UsageError(f"cannot write {output}: the name must end in {' or '.join(SUFFIXES)}")
    if not output.parent.is_dir():
        raise UsageError(f"cannot write {output}: there is no folder {output.parent}")
    if output.is_dir():
        raise UsageError(f"cannot write {output}: it is a folder")
    return output
