"""`qwen3-triton embed CORPUS --text-column NAME --id-column NAME --to URL`: embed a corpus into a table of a database.

Rows whose ids the table has are left out, so the same command resumes a run that was stopped, and adds what is new in
the corpus. This module knows nothing about databases.
"""

import argparse
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..bulk.corpus import Block, Corpus
from ..bulk.pipeline import embed_blocks
from ..bulk.tables import check_table, open_table
from ..errors import InvalidInputError
from .connection import dimensions_of, open_client
from .embed_corpus import Progress, about_vectors
from .errors import UsageError


class _Nothing:
    """Keeps nothing of unfinished blocks: a table has whole blocks."""

    def restore(self, block: Block) -> Mapping[int, NDArray[np.float32]]:  # noqa: ARG002
        return {}

    def keep(self, block: Block, indices: list[int], vectors: NDArray[np.float32]) -> None:
        """See the class."""

    def commit_if_due(self) -> None:
        """See the class."""


def embed_into_table(args: argparse.Namespace, path: Path) -> None:
    """Embed the rows of a file that the table lacks.

    Args:
        args: the arguments of the command.
        path: the file of the corpus.

    Raises:
        UsageError: a library is not installed.
        InvalidInputError: the corpus or the table cannot be used.
        Qwen3ClientError: a request failed; blocks that were finished are in the table.
        OSError: the file cannot be read, or the database fails.
    """
    check_table(args.to, args.table)
    corpus = Corpus(
        path,
        text_column=args.text_column,
        id_column=args.id_column,
        block_rows=args.block_rows,
        skips_empty=args.skip_empty,
    )
    corpus.check_ids()  # now, because a repeated id would be taken for one that the table has
    with open_client(args, noun="embedding model") as client:
        cuts = client.async_client._count_cuts()
        info = client.info()
        if info.fingerprint is None:
            raise InvalidInputError(
                f"the model {info.name!r} was exported before there were fingerprints, so a table could not say which "
                "model its vectors are of: export it again"
            )
        client.async_client._expect(info.fingerprint)
        dimensions = dimensions_of(args, info)
        about = about_vectors(args, info, dtype=args.dtype, dimensions=dimensions)
        try:
            table = open_table(args.to, args.table, key=corpus.key, about=about)
        except ImportError as error:
            raise UsageError(str(error)) from error
        lost = cuts.take()
        with closing(table):
            corpus.known = table.ids()
            count = 0
            with Progress(corpus.size, begin=0) as progress:
                embedded = embed_blocks(
                    client,
                    corpus.blocks(),
                    kind=args.kind,
                    instruction=args.instruction,
                    dimensions=dimensions,
                    truncate=not args.no_truncate,
                    cuts=cuts,
                    keeper=_Nothing(),
                    advance=progress.advance,
                )
                with closing(embedded):
                    for done in embedded:
                        table.add(done.block.keys, done.block.texts, done.vectors.astype(args.dtype))
                        count += len(done.block.texts)
                        lost += done.cuts
    print(
        f"added {count:,} rows to {args.table}, which had {len(corpus.known):,}: {progress.summary()}", file=sys.stderr
    )
    if lost.texts:
        print(lost.sentence(max_tokens=info.max_tokens), file=sys.stderr)
