"""Blocks of texts to blocks of vectors, without a pause between them.

While the server works on a block, the next one is read, tokenized and lined up behind it, so there is always
something to send; two blocks are held, and the texts of a third while it is read. Within a block the texts go by
their number of tokens, so that those which Triton batches together are of about one length, and the longest go
first: the server's memory peaks early rather than at the end of the night, and what is left at the end of a block
are short texts, which leave no processor waiting for a straggler.

This module knows nothing about files. It needs the two halves of `Client.encode_document`, and something to keep the
finished texts of a block that is not finished.
"""

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..cuts import CutCounter, Cuts
from ..errors import Qwen3ClientError
from ..options import Kind, Truncate
from .corpus import Block

# What a call embeds is finished when its last text is: a call is small, so that a stop loses little even where a
# second is 20 tokens, and many are open, so that the client's window of requests is always full.
_CALLS = 16
_CALL_TEXTS = 64
_CALL_TOKENS = 2048  # but for a single text that has more
_LOOK_S = 2.0

_Ids = NDArray[np.int64]


class TokenEmbedder(Protocol):
    """What the pipeline needs of a `Client`. Threads share it."""

    def tokenize(
        self, texts: Sequence[str], *, kind: Kind = ..., instruction: str | None = ..., truncate: Truncate = ...
    ) -> list[_Ids]:
        """Turn texts into token ids, each int64 `[n_i]`."""

    def encode_tokens(self, input_ids: Sequence[_Ids], *, dimensions: int | None = ...) -> NDArray[np.float32]:
        """Turn token ids into unit vectors, float32 `[n, dimensions]`."""


class Keeper(Protocol):
    """Where finished texts of a block are kept until all of it is finished."""

    def restore(self, block: Block) -> Mapping[int, NDArray[np.float32]]:
        """Return the vectors, float32 `[dimensions]`, that are kept of a block, by the indices of its texts."""

    def keep(self, block: Block, indices: list[int], vectors: NDArray[np.float32]) -> None:
        """Keep vectors, float32 `[n, dimensions]`, of the texts at some indices of a block."""

    def commit_if_due(self) -> None:
        """Is called every few seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedBlock:
    """A block and what became of it.

    Attributes:
        block: the texts.
        vectors: float32 `[n, dimensions]`, in the order of the texts.
        tokens: how many tokens all texts have.
        cuts: what the texts lost to fit the model.
    """

    block: Block
    vectors: NDArray[np.float32]
    tokens: int
    cuts: Cuts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
    """A block on its way: what is kept of it, and the calls that are open, with the indices of their texts."""

    block: Block
    lengths: NDArray[np.int64]
    cuts: Cuts
    kept: Mapping[int, NDArray[np.float32]]
    calls: dict[Future[NDArray[np.float32]], list[int]]


def embed_blocks(
    client: TokenEmbedder,
    blocks: Iterable[Block],
    *,
    kind: Kind,
    instruction: str | None,
    dimensions: int | None,
    truncate: bool,
    cuts: CutCounter,
    keeper: Keeper,
    advance: Callable[[float, int, int], object],
) -> Generator[EmbeddedBlock, None, None]:
    """Embed blocks, in their order.

    Closing the iterator gives up what is not sent yet; closing the client, what is on its way. However it ends, what
    is finished by then is kept.

    Args:
        client: makes token ids and vectors.
        blocks: what to embed; one is taken while the one before it is embedded.
        kind: whether the texts are queries or documents.
        instruction: the task of the queries; None for the model's default.
        dimensions: length of the vectors; None for the model's.
        truncate: whether a text that is too long is cut, instead of raising.
        cuts: counts what the client cuts off.
        keeper: keeps finished texts of blocks that are not finished, and says what it has.
        advance: is told, as texts are done, how far that is in units of the corpus, how many texts, how many
            tokens. What was kept before counts as far, and not as texts or tokens.

    Yields:
        Each block with its vectors.

    Raises:
        Qwen3ClientError: the first failure, with the row of the corpus that it is about.
    """
    pool = ThreadPoolExecutor(_CALLS, thread_name_prefix="qwen3-bulk")

    def begin(block: Block) -> _Pending:
        with _about_rows(block, range(len(block.texts))):
            ids = client.tokenize(block.texts, kind=kind, instruction=instruction, truncate=truncate)
        lengths = np.array([len(row) for row in ids], dtype=np.int64)
        kept = keeper.restore(block)
        longest_first = [index for index in np.argsort(-lengths, kind="stable").tolist() if index not in kept]
        calls = {
            pool.submit(client.encode_tokens, [ids[index] for index in indices], dimensions=dimensions): indices
            for indices in _calls(longest_first, lengths)
        }
        return _Pending(block=block, lengths=lengths, cuts=cuts.take(), kept=kept, calls=calls)

    def finish(pending: _Pending) -> EmbeddedBlock:
        block, lengths, total = pending.block, pending.lengths, int(pending.lengths.sum())
        vectors: NDArray[np.float32] | None = None

        def put(indices: list[int], rows: NDArray[np.float32], *, are_new: bool) -> None:
            nonlocal vectors
            if vectors is None:
                vectors = np.empty((len(lengths), rows.shape[1]), dtype=np.float32)
            vectors[indices] = rows
            tokens = int(lengths[indices].sum())
            units = (block.end - block.begin) * tokens / total
            advance(units, *((len(indices), tokens) if are_new else (0, 0)))

        if pending.kept:
            put(list(pending.kept), np.stack(list(pending.kept.values())), are_new=False)
        while pending.calls:
            open_calls = list(itertools.islice(pending.calls, _CALLS))
            wait(open_calls, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
            for call in filter(Future.done, open_calls):
                indices = pending.calls[call]
                with _about_rows(block, indices):
                    rows = call.result()
                keeper.keep(block, indices, rows)
                del pending.calls[call]
                put(indices, rows, are_new=True)
            keeper.commit_if_due()
        assert vectors is not None  # noqa: S101 - a block has a text
        return EmbeddedBlock(block=block, vectors=vectors, tokens=total, cuts=pending.cuts)

    waiting: deque[_Pending] = deque()
    try:
        for block in blocks:
            waiting.append(begin(block))
            if len(waiting) > 1:
                yield finish(waiting[0])
                waiting.popleft()
        while waiting:
            yield finish(waiting[0])
            waiting.popleft()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for pending in waiting:
            for call, indices in pending.calls.items():
                if call.done() and not call.cancelled() and call.exception() is None:
                    keeper.keep(pending.block, indices, call.result())


def _calls(indices: Sequence[int], lengths: NDArray[np.int64]) -> Iterator[list[int]]:
    """Yield the indices of the texts of each call."""
    call: list[int] = []
    tokens = 0
    for index in indices:
        length = int(lengths[index])
        if call and (len(call) == _CALL_TEXTS or tokens + length > _CALL_TOKENS):
            yield call
            call, tokens = [], 0
        call.append(index)
        tokens += length
    if call:
        yield call


@contextlib.contextmanager
def _about_rows(block: Block, indices: Sequence[int]) -> Iterator[None]:
    """Turn an error about a text of a call into one about its row of the corpus.

    Args:
        block: the block that the call's texts are from.
        indices: which of its texts they are.
    """
    try:
        yield
    except Qwen3ClientError as error:
        if error.index is None:
            raise
        raise error.about("row", block.rows[indices[error.index]]) from error.__cause__
