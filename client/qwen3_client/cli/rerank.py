"""`qwen3-triton rerank`: rank documents from the command line, a file or stdin, and print the ranking.

This module knows nothing about models.
"""

import argparse
import json
import shutil
import sys
import unicodedata
from dataclasses import asdict
from typing import TYPE_CHECKING

from .connection import add_server_arguments, open_client
from .errors import UsageError
from .texts import open_texts

if TYPE_CHECKING:
    from ..ranking import RankedDocument

HELP = "rank documents by how well they meet a query, with a running server"
EXTRA: str | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("query", metavar="QUERY", help="the query")
    parser.add_argument(
        "documents", nargs="*", metavar="DOCUMENT", help="documents to rank (default: the lines of --file or stdin)"
    )
    parser.add_argument("--file", metavar="PATH", help='UTF-8 file with one document per line; "-" for stdin')
    add_server_arguments(parser, noun="reranker")
    parser.add_argument("--instruction", help="the task, in one English sentence (default: the model's)")
    parser.add_argument("--top-k", type=int, metavar="N", help="print only the best N documents")
    parser.add_argument(
        "--json", action="store_true", help="print JSON lines with index, score, logit, document, and what was cut"
    )


def run(args: argparse.Namespace) -> int:
    """Rank the documents and print them."""
    if args.top_k is not None and args.top_k < 1:
        raise UsageError(f"--top-k must be at least 1, not {args.top_k}")
    if args.instruction == "":
        raise UsageError("--instruction must not be empty: leave it out to use the model's own")
    with (
        open_texts(args.documents, file=args.file, noun="document") as documents,
        open_client(args, noun="reranker") as client,
    ):
        best = client.rank(
            args.query, list(documents), instruction=args.instruction, top_k=args.top_k, return_documents=True
        )
    _print_cuts(best)
    if args.json:
        for document in best:
            print(json.dumps(asdict(document)))
    else:
        _print_table(best)
    sys.stdout.flush()  # so that a closed pipe raises its error here and not at exit
    return 0


def _print_cuts(best: list["RankedDocument"]) -> None:
    """Say on stderr what was cut to fit the model."""
    documents = sum(document.is_document_cut for document in best)
    queries = sum(document.is_query_cut for document in best)
    if documents:
        print(f"cut the end of {documents} of these {len(best)} documents to fit the model", file=sys.stderr)
    if queries:
        print(
            f"cut the end of the query for {queries} of these {len(best)} documents, to leave room for the document",
            file=sys.stderr,
        )


def _print_table(best: list["RankedDocument"]) -> None:
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    index_width = max(len(text) for text in ("index", *(str(document.index) for document in best)))
    rank_width = max(len("rank"), len(str(len(best))))
    print(f"{'rank':>{rank_width}}   score  {'index':>{index_width}}  document")
    for rank, document in enumerate(best, start=1):
        start = f"{rank:>{rank_width}}  {document.score:.4f}  {document.index:>{index_width}}  "
        print(start + shown(document.document or "", columns=None if width is None else width - len(start)))


def shown(text: str, *, columns: int | None) -> str:
    """Return a text as one line that a terminal can show.

    Args:
        text: any text; it may hold line ends, and control characters that a terminal would interpret.
        columns: the width of the line, in which Chinese, Japanese and Korean characters take two columns each; None for
            no limit. A text that does not fit is cut, and ends in "...".
    """
    line = "".join(
        "?" if unicodedata.category(character) == "Cc" else character for character in " ".join(text.split())
    )
    encoding = sys.stdout.encoding or "utf-8"
    line = line.encode(encoding, errors="replace").decode(encoding)
    if columns is None or sum(map(_columns, line)) <= columns:
        return line
    taken, room = 0, max(columns - len("..."), 0)
    for position, character in enumerate(line):
        taken += _columns(character)
        if taken > room:
            return f"{line[:position]}..."
    return line


def _columns(character: str) -> int:
    if unicodedata.category(character) in (
        "Cf",
        "Me",
        "Mn",
    ):  # joiners, and marks that combine with the character before them
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
