"""`qwen3-triton embed CORPUS --text-column NAME`: embed the texts of a file, in a run that can be resumed.

This module makes a job from the command's arguments, connects the corpus, the pipeline and the output, and shows the
progress. It knows nothing about file formats.
"""

import argparse
import contextlib
import hashlib
import itertools
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from tqdm import tqdm

from ..bulk.corpus import Corpus
from ..bulk.description import arithmetic_of
from ..bulk.existing import ExistingVectors
from ..bulk.output import OUTPUT_SUFFIXES, VECTOR_COLUMN, BulkOutput
from ..bulk.parts import JOB, Parts, open_parts
from ..bulk.pipeline import embed_blocks
from ..bulk.unfinished import UnfinishedBlocks
from ..contract import ModelInfo
from ..errors import InvalidInputError, Qwen3ClientError
from ..prompts import prefix_of, task
from ..quantization import Calibration, Dtype, checked_dtype
from ..vector_files import calibration_beside
from .connection import dimensions_of, open_client
from .errors import UsageError
from .overwriting import is_same_file

_JOB_VERSION = 2  # of the parts: raised when this client cannot resume the jobs of older ones


def embed_corpus(
    args: argparse.Namespace, path: Path, output: Path, *, dtype: Dtype, calibration: Calibration | None
) -> None:
    """Embed a file, or resume an earlier run of the same command.

    Args:
        args: the arguments of the command.
        path: the file of the corpus.
        output: the file for the vectors.
        dtype: the dtype in which they are written.
        calibration: the ranges for int8 and uint8; None to make them from the first rows.

    Raises:
        UsageError: the arguments contradict one another.
        InvalidInputError: the corpus cannot be used, or there is unfinished work of another job for this output.
        Qwen3ClientError: a request failed; finished texts are kept.
        OSError: a file cannot be read or written.
    """
    _check_output(args, output)
    corpus = Corpus(
        path,
        text_column=args.text_column,
        id_column=args.id_column,
        block_rows=args.block_rows,
        skips_empty=args.skip_empty,
    )
    with open_client(args, noun="embedding model") as client:
        cuts = client.async_client._count_cuts()
        info = client.info()
        client.async_client._expect(info.fingerprint)  # vectors of two models in one file would be of no use
        dimensions = dimensions_of(args, info)
        checked_dtype(dtype, dimensions=dimensions)
        about = about_vectors(args, info, dtype=dtype, dimensions=dimensions)
        source = _source(corpus)
        existing = None
        if args.append_to is not None:
            existing = ExistingVectors(output, key=corpus.key, vector_column=VECTOR_COLUMN, about=about)
            corpus.known, calibration = existing.keys, existing.calibration
        job = {**source, **about, "block_rows": args.block_rows, "calibration": _digest(calibration)}
        if existing is not None:
            job["append_to"] = existing.identity
        arithmetic = arithmetic_of(client, info)
        cuts.take()  # the probe is none of the corpus's texts
        folder = output.with_name(f"{output.name}.parts")
        restarts = args.restart or (existing is not None and existing.has_taken(folder / JOB))
        with open_parts(folder, job=job, restarts=restarts) as parts:
            if not parts.is_empty:
                print(
                    f"resuming: the vectors of {parts.texts:,} rows of {path} are kept",
                    file=sys.stderr,
                )
            beside = calibration_beside(output)
            result = BulkOutput(
                output,
                parts,
                key=corpus.key,
                dtype=dtype,
                dimensions=dimensions,
                calibration=calibration,
                about=about,
                arithmetic=arithmetic,
                existing=existing,
                saves_calibration=existing is None
                and (args.calibration is None or not is_same_file(Path(args.calibration), beside)),
            )
            if args.no_truncate and (before := result.cuts).texts:
                raise InvalidInputError(
                    f"an earlier run without --no-truncate cut {before.texts:,} of the texts that {folder} holds; "
                    "leave out --no-truncate, or add --restart to start over"
                )
            blocks = corpus.blocks(start=parts.next_row)
            first = list(itertools.islice(blocks, 1))  # its start is where the progress bar begins
            begin = first[0].begin if first else corpus.size
            with _kept_in(parts, arithmetic=arithmetic) as unfinished, Progress(corpus.size, begin=begin) as progress:
                embedded = embed_blocks(
                    client,
                    itertools.chain(first, blocks),
                    kind=args.kind,
                    instruction=args.instruction,
                    dimensions=dimensions,
                    truncate=not args.no_truncate,
                    cuts=cuts,
                    keeper=unfinished,
                    advance=progress.advance,
                )
                with closing(embedded):
                    for done in embedded:
                        result.add(done.block.keys, done.vectors, stop=done.block.stop, cuts=done.cuts)
                        unfinished.finished(done.block)
            if not parts and existing is not None:
                print(f"{output} has the vectors of all texts of {path} already", file=sys.stderr)
                return
            if not parts:
                raise InvalidInputError(f"{path} holds no texts")
            if _source(corpus) != source:
                raise InvalidInputError(f"{path} changed while it was read; embed it again with --restart")
            lost = result.cuts
            count = result.finish()
    print(f"wrote {output}: {dtype} [{count}, {result.width}] in {progress.summary()}", file=sys.stderr)
    if lost.texts:
        print(lost.sentence(max_tokens=info.max_tokens), file=sys.stderr)


@contextlib.contextmanager
def _kept_in(parts: Parts, *, arithmetic: str | None) -> Iterator[UnfinishedBlocks]:
    """Provide the keeper of finished texts. When the run is stopped, commit them and print how many rows are kept.

    Raises:
        KeyboardInterrupt: after Ctrl-C, with the text to print as its argument.
    """
    unfinished = UnfinishedBlocks(parts, arithmetic=arithmetic)
    try:
        yield unfinished
    except (KeyboardInterrupt, Qwen3ClientError, OSError) as stop:
        with contextlib.suppress(OSError):  # the disk may be what failed
            unfinished.commit()
        if not parts.is_empty:
            kept = f"the vectors of {parts.texts:,} rows are kept; run the same command again to resume"
            if isinstance(stop, KeyboardInterrupt):
                raise KeyboardInterrupt(kept) from None
            print(kept, file=sys.stderr)
        raise


def _check_output(args: argparse.Namespace, output: Path) -> None:
    if output.suffix not in OUTPUT_SUFFIXES:
        raise UsageError(f"cannot write {output}: for a corpus the name must end in {' or '.join(OUTPUT_SUFFIXES)}")
    if output.suffix == ".npy" and args.id_column is not None:
        raise UsageError("a .npy file cannot hold the ids of --id-column: write a .parquet file")
    if output.suffix == ".npy" and args.skip_empty:
        raise UsageError(
            "--skip-empty leaves out rows, and a .npy file cannot hold the row of each vector: write a .parquet file"
        )
    if args.id_column == VECTOR_COLUMN:
        raise UsageError(f"the column of vectors has the name {VECTOR_COLUMN!r}: rename the column of ids")


def _source(corpus: Corpus) -> dict[str, object]:
    """Return what identifies the corpus, and shows whether its file has changed."""
    path = corpus.path.resolve()
    status = path.stat()
    return {
        "version": _JOB_VERSION,
        "corpus": str(path),
        "bytes": status.st_size,
        "modified_ns": status.st_mtime_ns,
        "text_column": corpus.text_column,
        "id_column": corpus.id_column,
    }


def about_vectors(args: argparse.Namespace, info: ModelInfo, *, dtype: Dtype, dimensions: int) -> dict[str, object]:
    """Return a description of the vectors: everything that determines their numbers, except the texts."""
    prompt = prefix_of(info, args.kind, instruction=args.instruction)
    names_task = args.kind == "query" and info.query_prompt is None
    return {
        "source": info.source,
        "revision": info.revision,
        "precision": info.precision,
        "fingerprint": info.fingerprint,
        "tokenizer_sha256": info.tokenizer_sha256,
        "max_tokens": info.max_tokens,
        "kind": args.kind,
        "instruction": task(args.instruction, default=info.default_instruction) if names_task else None,
        **({} if names_task or not prompt else {"prompt": prompt}),
        **({"special_tokens": True} if args.special_tokens else {}),
        "dimensions": dimensions,
        "dtype": dtype,
    }


def _digest(calibration: Calibration | None) -> str | None:
    if calibration is None:
        return None
    return hashlib.sha256(calibration.low.tobytes() + calibration.high.tobytes()).hexdigest()


class Progress:
    """The progress of the run, for a bar on a terminal and for the last line.

    Args:
        size: `Corpus.size`.
        begin: how much of it earlier runs did, in the same units.
    """

    def __init__(self, size: int, *, begin: int) -> None:
        self._started = time.monotonic()
        self._texts = 0
        self._tokens = 0
        self._bar = tqdm(
            total=size,
            initial=begin,
            bar_format="{l_bar}{bar}| {elapsed}<{remaining}{postfix}",
            file=sys.stderr,
            disable=not sys.stderr.isatty(),
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def advance(self, units: float, texts: int, tokens: int) -> None:
        """Record that texts are finished.

        Args:
            units: their part of the corpus, in units of `Corpus.size`.
            texts: how many of them this run embedded.
            tokens: number of tokens of those.
        """
        self._texts += texts
        self._tokens += tokens
        rate = self._tokens / (time.monotonic() - self._started)
        self._bar.set_postfix_str(f"{self._texts:,} texts, {rate:,.0f} tokens/s", refresh=False)
        self._bar.update(units)

    def summary(self) -> str:
        """Return the time and the speed of this run, as text. What earlier runs did is not counted."""
        seconds = time.monotonic() - self._started
        return f"{seconds:.1f} s ({self._texts / seconds:.1f} texts/s, {self._tokens / seconds:.1f} tokens/s)"
