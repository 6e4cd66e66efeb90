"""`qwen3-triton embed`: embed texts from the command line, a file or stdin, and write vectors to stdout or a file.

With `--text-column`, the argument is a corpus and not a text, and `embed_corpus` embeds it. This module knows nothing
about blocks and resumed runs.
"""

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..quantization import DTYPES
from .connection import add_server_arguments, dimensions_of, open_client
from .errors import UsageError
from .overwriting import refuse_appending_to_input, refuse_overwriting
from .texts import open_texts

if TYPE_CHECKING:
    from ..client import Client
    from ..quantization import Calibration, Dtype

HELP = "embed texts with a running server"
EXTRA: str | None = "bulk"  # it brings pyarrow, which only a corpus needs

_BLOCK_ROWS = 4096
_TABLE = "documents"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="texts (default: the lines of --file or stdin)")
    parser.add_argument("--file", metavar="PATH", help='UTF-8 file with one text per line; "-" for stdin')
    add_server_arguments(parser, noun="embedding model")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--query", dest="kind", action="store_const", const="query", help="the texts are queries")
    kind.add_argument(
        "--document", dest="kind", action="store_const", const="document", help="the texts are documents (default)"
    )
    parser.set_defaults(kind="document")
    parser.add_argument("--instruction", help="task of the queries, in one English sentence (default: the model's)")
    parser.add_argument("--dimensions", type=int, metavar="N", help="length of the vectors (default: the model's)")
    parser.add_argument(
        "--no-truncate", action="store_true", help="refuse a text that is too long for the model instead of cutting it"
    )
    parser.add_argument(
        "--dtype", choices=DTYPES, default="float32", help="dtype in which vectors are written (%(default)s)"
    )
    parser.add_argument(
        "--calibration",
        metavar="PATH",
        help="x.calibration.npz with the ranges for int8 and uint8, which embedding a corpus writes",
    )
    parser.add_argument("--output", metavar="PATH", help="x.npy or x.jsonl (default: JSON lines on stdout)")
    corpus = parser.add_argument_group(
        "a corpus",
        "qwen3-triton embed corpus.parquet --text-column text --output vectors.parquet embeds a column of a .parquet, "
        ".csv, .jsonl or .txt file of any size. Run the same command again to resume a run that was stopped.",
    )
    corpus.add_argument(
        "--text-column", metavar="NAME", help='TEXT is a file, and this is its column with the texts ("text" in a .txt)'
    )
    corpus.add_argument(
        "--append-to",
        metavar="PATH",
        help="x.parquet that this command wrote, in place of --output: only texts whose ids it lacks are embedded",
    )
    corpus.add_argument(
        "--to",
        metavar="URL",
        help="postgresql://user@host/database or lance://folder, in place of --output: only texts whose ids the table "
        "lacks are embedded",
    )
    corpus.add_argument(
        "--table", metavar="NAME", help=f"the table of --to, which is made if it is not there ({_TABLE})"
    )
    corpus.add_argument("--id-column", metavar="NAME", help="column with the ids of the texts (default: row numbers)")
    corpus.add_argument("--skip-empty", action="store_true", help="leave out rows without a text")
    corpus.add_argument("--restart", action="store_true", help="discard what an unfinished run left, and start over")
    corpus.add_argument(
        "--block-rows",
        type=int,
        metavar="N",
        help=f"number of texts that are read ahead and sorted by length together ({_BLOCK_ROWS})",
    )


def run(args: argparse.Namespace) -> int:
    """Embed the texts.

    Raises:
        ModuleNotFoundError: a corpus is to be embedded, but the bulk extra is not installed.
    """
    from ..quantization import Calibration

    output = _checked_arguments(args)
    dtype: Dtype = args.dtype
    calibration = None if args.calibration is None else Calibration.load(args.calibration)
    if args.text_column is None:
        _embed_texts(args, output, dtype=dtype, calibration=calibration)
    else:
        args.block_rows = _BLOCK_ROWS if args.block_rows is None else args.block_rows
        if args.to is not None:
            from .embed_table import embed_into_table

            args.table = _TABLE if args.table is None else args.table
            embed_into_table(args, Path(args.texts[0]))
            return 0
        from .embed_corpus import embed_corpus

        embed_corpus(args, Path(args.texts[0]), Path(args.output), dtype=dtype, calibration=calibration)
    return 0


def _embed_texts(
    args: argparse.Namespace, output: Path | None, *, dtype: "Dtype", calibration: "Calibration | None"
) -> None:
    # The file is opened first: if its path is wrong, no request is sent.
    with (
        open_texts(args.texts, file=args.file, noun="text") as texts,
        open_client(args, noun="embedding model") as client,
    ):
        _write_rows(args, client, texts, output, dtype=dtype, calibration=calibration)


def _write_rows(
    args: argparse.Namespace,
    client: "Client",
    texts: Iterator[str],
    output: Path | None,
    *,
    dtype: "Dtype",
    calibration: "Calibration | None",
) -> None:
    from tqdm import tqdm

    from ..quantization import quantize, stored_as
    from ..vector_files import json_line, vector_file

    started = time.monotonic()
    cuts = client.async_client._count_cuts()
    dimensions = dimensions_of(args, client.info())
    rows = client.encode_stream(
        texts,
        kind=args.kind,
        instruction=args.instruction,
        dimensions=args.dimensions,
        truncate=not args.no_truncate,
    )
    stored, width = stored_as(dtype, dimensions=dimensions)
    count = 0
    with contextlib.ExitStack() as stack:
        write = stack.enter_context(vector_file(output, width=width, dtype=stored)) if output else None
        # A progress bar and JSON lines on the same terminal would overwrite each other.
        is_quiet = not sys.stderr.isatty() or (write is None and sys.stdout.isatty())
        bar = stack.enter_context(tqdm(total=len(args.texts) or None, unit=" texts", file=sys.stderr, disable=is_quiet))
        for row in rows:
            codes = quantize(row, dtype, calibration=calibration)
            if write is None:
                print(json_line(count, codes), flush=True)
            else:
                write(codes)
            count += 1
            bar.update()
    seconds = time.monotonic() - started
    print(
        f"wrote {output or 'stdout'}: {dtype} [{count}, {width}] in {seconds:.1f} s ({count / seconds:.1f} texts/s)",
        file=sys.stderr,
    )
    if (lost := cuts.take()).texts:
        print(lost.sentence(max_tokens=client.info().max_tokens), file=sys.stderr)


def _checked_arguments(args: argparse.Namespace) -> Path | None:
    """Return the path of the output, None for stdout, after checking that the arguments fit together."""
    from ..quantization import needs_calibration
    from ..vector_files import calibration_beside

    if args.instruction == "":
        raise UsageError("--instruction must not be empty: leave it out to use the model's own")
    if args.instruction is not None and args.kind != "query":
        raise UsageError("--instruction is for queries: add --query")
    if args.calibration is not None and not needs_calibration(args.dtype):
        raise UsageError("--calibration is for --dtype int8 and uint8")
    if args.append_to is not None:
        if args.output is not None:
            raise UsageError("--append-to and --output contradict each other: give one of them")
        if Path(args.append_to).suffix != ".parquet" or not Path(args.append_to).is_file():
            raise UsageError(f"cannot append to {args.append_to}: it is not an existing .parquet file; use --output")
        if args.text_column is not None and args.id_column is None:
            raise UsageError(
                "--append-to needs --id-column: by row numbers alone, the texts of another corpus would be taken for "
                "those that the file has"
            )
        if args.calibration is not None:
            raise UsageError("--append-to uses the calibration beside the file: leave out --calibration")
        args.output = args.append_to
    if args.text_column is None:
        _check_arguments_of_texts(args)
    elif len(args.texts) != 1 or args.file is not None:
        raise UsageError("with --text-column, give exactly one argument, the file of the corpus, and no --file")
    elif args.to is not None:
        _check_arguments_of_table(args)
    elif args.output is None:
        raise UsageError("--text-column needs --output x.parquet, --output x.npy, --append-to x.parquet or --to URL")
    elif args.table is not None:
        raise UsageError("--table is for --to")
    inputs = _inputs(args)
    if args.to is not None:
        return None
    if args.output is None:
        refuse_appending_to_input(inputs)
        return None
    output = Path(args.output)
    if not output.parent.is_dir():
        raise UsageError(f"cannot write {output}: there is no folder {output.parent}")
    if output.is_dir():
        raise UsageError(f"cannot write {output}: it is a folder")
    refuse_overwriting(output, inputs)
    if args.text_column is not None and needs_calibration(args.dtype):
        # The calibration beside the output may be the one that --calibration names, which is then not written again.
        refuse_overwriting(calibration_beside(output), {**inputs, "--calibration": None})
    return output


def _inputs(args: argparse.Namespace) -> dict[str, str | None]:
    """Return the paths of the files that the command reads, by the names that the user knows them by."""
    named = {
        "--calibration": args.calibration,
        "--token-file": args.token_file,
        "--header-file": args.header_file,
        "--ca": args.ca,
        "--certificate": args.certificate,
        "--key": args.key,
    }
    if args.text_column is not None:
        return {"the corpus": args.texts[0], **named}
    if args.file in (None, "-"):
        return {"stdin": None if args.texts else "-", **named}
    return {"--file": args.file, **named}


def _check_arguments_of_texts(args: argparse.Namespace) -> None:
    from ..quantization import needs_calibration
    from ..vector_files import SUFFIXES

    for option, is_given in (
        ("--append-to", args.append_to is not None),
        ("--to", args.to is not None),
        ("--table", args.table is not None),
        ("--id-column", args.id_column is not None),
        ("--skip-empty", args.skip_empty),
        ("--restart", args.restart),
        ("--block-rows", args.block_rows is not None),
    ):
        if is_given:
            raise UsageError(f"{option} is for a corpus: add --text-column")
    if len(args.texts) == 1 and _is_file(args.texts[0]):
        raise UsageError(
            f"{args.texts[0]} is a file: add --text-column and --output to embed a column of it, or give it in --file "
            "to embed its lines"
        )
    if needs_calibration(args.dtype) and args.calibration is None:
        raise UsageError(
            f"--dtype {args.dtype} needs --calibration, the x.calibration.npz that embedding a corpus writes"
        )
    if args.output is not None and Path(args.output).suffix not in SUFFIXES:
        raise UsageError(f"cannot write {args.output}: the name must end in {' or '.join(SUFFIXES)}")


def _check_arguments_of_table(args: argparse.Namespace) -> None:
    if args.output is not None:
        raise UsageError("--to, --output and --append-to contradict one another: give one of them")
    if args.id_column is None:
        raise UsageError("--to needs --id-column: the ids are the primary key of the table")
    if args.dtype not in ("float32", "float16"):
        raise UsageError(f"--to writes float32 or float16, not {args.dtype}: the database makes other forms itself")
    if args.restart:
        raise UsageError("--restart is not for --to: remove the table, or name another with --table")


def _is_file(text: str) -> bool:
    """Return whether a text is the path of an existing file, which the user probably means."""
    return "." in text and os.path.isfile(text)  # noqa: PTH113 - Path raises where a text is too long for a path
