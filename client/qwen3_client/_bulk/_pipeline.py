"""Blocks of texts to blocks of vectors, without a pause between them.

While the server works on a block, the next one is read, tokenized and lined up behind it, so there is always
something to send; two blocks are held, and the texts of a third while it is read. Within a block the texts go by
their number of tokens, so that those which Triton batches together are of about one length, and the longest go
first: the server's memory peaks early rather than at the end of the night, and what is left at the end of a block
are short texts, which leave no processor waiting for a straggler.

This module knows nothing about files. It needs the two halves of `Client.encode_document` and nothing else.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .._errors import Qwen3ClientError
from .._prompts import Kind
from ._corpus import Block

__all__ = ["EmbeddedBlock", "TokenEmbedder", "embed_blocks"]

# A call ends when its last text does. With a second call open, the client's window of requests is full even then;
# 256 texts are several windows, and few enough that the progress bar moves.
_CALLS = 2
_CALL_TEXTS = 256

_Ids = NDArray[np.int64]


class TokenEmbedder(Protocol):
    """What the pipeline needs of a `Client`. Threads share it."""

    def tokenize(self, texts: Sequence[str], *, kind: Kind = ..., instruction: str | None = ...) -> list[_Ids]:
        """Turns texts into token ids, each int64 `[n_i]`."""

    def encode_tokens(self, input_ids: Sequence[_Ids], *, dimensions: int | None = ...) -> NDArray[np.float32]:
        """Turns token ids into unit vectors, float32 `[n, dimensions]`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedBlock:
    """A block and what became of it.

    Attributes:
        block: the texts.
        vectors: float32 `[n, dimensions]`, in the order of the texts.
        tokens: how many tokens all texts have.
    """

    block: Block
    vectors: NDArray[np.float32]
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
    """A block on its way: which texts each call holds, and its result to come."""

    block: Block
    lengths: NDArray[np.int64]
    calls: list[tuple[list[int], Future[NDArray[np.float32]]]]


def embed_blocks(
    client: TokenEmbedder,
    blocks: Iterable[Block],
    *,
    kind: Kind,
    instruction: str | None,
    dimensions: int | None,
    advance: Callable[[float, int, int], object],
) -> Generator[EmbeddedBlock, None, None]:
    """Embeds blocks, in their order.

    Closing the iterator gives up what is not sent yet; closing the client, what is on its way.

    Args:
        client: makes token ids and vectors.
        blocks: what to embed; one is taken while the one before it is embedded.
        kind: whether the texts are queries or documents.
        instruction: the task of the queries; None for the model's default.
        dimensions: length of the vectors; None for the model's.
        advance: is told, as texts are done, how far that is in units of the corpus, how many texts, how many
            tokens.

    Yields:
        Each block with its vectors.

    Raises:
        Qwen3ClientError: the first failure, with the row of the corpus that it is about.
    """
    pool = ThreadPoolExecutor(_CALLS, thread_name_prefix="qwen3-bulk")

    def begin(block: Block) -> _Pending:
        with _about_rows(block, range(len(block.texts))):
            ids = client.tokenize(block.texts, kind=kind, instruction=instruction)
        lengths = np.array([len(row) for row in ids], dtype=np.int64)
        longest_first = np.argsort(-lengths, kind="stable").tolist()
        calls = []
        for start in range(0, len(ids), _CALL_TEXTS):
            places = longest_first[start : start + _CALL_TEXTS]
            call = pool.submit(client.encode_tokens, [ids[place] for place in places], dimensions=dimensions)
            calls.append((places, call))
        return _Pending(block=block, lengths=lengths, calls=calls)

    def finish(pending: _Pending) -> EmbeddedBlock:
        block, lengths, total = pending.block, pending.lengths, int(pending.lengths.sum())
        answers = []
        for places, call in pending.calls:
            with _about_rows(block, places):
                answers.append(call.result())
            tokens = int(lengths[places].sum())
            advance((block.end - block.begin) * tokens / total, len(places), tokens)
        vectors = np.empty((len(lengths), answers[0].shape[1]), dtype=np.float32)
        for (places, _), rows in zip(pending.calls, answers, strict=True):
            vectors[places] = rows
        return EmbeddedBlock(block=block, vectors=vectors, tokens=total)

    pending: deque[_Pending] = deque()
    try:
        for block in blocks:
            pending.append(begin(block))
            if len(pending) > 1:
                yield finish(pending.popleft())
        while pending:
            yield finish(pending.popleft())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def _about_rows(block: Block, places: Sequence[int]) -> Iterator[None]:
    """Turns the index of a text among those of a call into the row of the corpus."""
    try:
        yield
    except Qwen3ClientError as error:
        if error.index is not None:
            error.noun, error.index = "row", block.rows[places[error.index]]
        raise
