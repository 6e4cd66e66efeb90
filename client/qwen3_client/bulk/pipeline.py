"""The pipeline from blocks of texts to blocks of vectors, which keeps the server busy all the time.

While the server works on a block, the next one is read, tokenized and queued behind it, so there is always something to
send. Two blocks are held in memory, and the texts of a third one while it is read. Within a block, texts are sent in
the order of their number of tokens, the longest first. So the texts that Triton puts into one batch have about the same
length; the server's memory use peaks early in the run; and the last texts of a block are short, so no processor waits
long for the last of them.

This module knows nothing about files. It needs the two halves of `Client.encode_document`, and an object that keeps the
finished texts of blocks that are not finished.
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

# The vectors of a call are available only when its last text is finished. So calls are small, which makes a stop lose
# little even on a server of 20 tokens per second, and several of them are open, which keeps the client's window full.
_CALLS = 16
_CALL_TEXTS = 64
_CALL_TOKENS = 2048  # except for a single text that has more
_LOOK_S = 2.0  # seconds between two calls of `Keeper.commit_if_due`, at most

_Ids = NDArray[np.int64]


class TokenEmbedder(Protocol):
    """The methods of `Client` that the pipeline needs. Threads share it."""

    def tokenize(
        self, texts: Sequence[str], *, kind: Kind = ..., instruction: str | None = ..., truncate: Truncate = ...
    ) -> list[_Ids]:
        """Turn texts into token ids, int64 `[n]` for each text."""

    def encode_tokens(self, input_ids: Sequence[_Ids], *, dimensions: int | None = ...) -> NDArray[np.float32]:
        """Turn token ids into unit vectors, float32 `[n, dimensions]`."""


class Keeper(Protocol):
    """The object that keeps finished texts of a block until the whole block is finished."""

    def restore(self, block: Block) -> Mapping[int, NDArray[np.float32]]:
        """Return the vectors that are kept of a block, float32 `[dimensions]` each, by the indices of its texts."""

    def keep(self, block: Block, indices: list[int], vectors: NDArray[np.float32]) -> None:
        """Keep the vectors of the texts at some indices of a block, float32 `[n, dimensions]`."""

    def commit_if_due(self) -> None:
        """Write what is kept to the disk if it is time; called every few seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedBlock:
    """A block and its vectors.

    Attributes:
        block: the block.
        vectors: float32 `[n, dimensions]`, in the order of the texts.
        tokens: number of tokens of all texts together.
        cuts: what was cut off from the texts.
    """

    block: Block
    vectors: NDArray[np.float32]
    tokens: int
    cuts: Cuts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
    """A block that is being embedded: the vectors that are kept, and the open calls with the indices of their texts."""

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

    Closing the iterator cancels the calls that have not started; closing the client cancels the others. In every case,
    the texts that are finished by then are kept.

    Args:
        client: makes token ids and vectors.
        blocks: the blocks to embed; each is read while the one before it is embedded.
        kind: whether the texts are queries or documents.
        instruction: the task of the queries; None for the model's default.
        dimensions: length of the vectors; None for the model's.
        truncate: whether a text that is too long is cut; False to raise an error instead.
        cuts: counts what the client cuts off.
        keeper: keeps the finished texts of blocks that are not finished.
        advance: called when texts are finished, with the progress in units of `Corpus.size` and the numbers of texts
            and of tokens. Both numbers are 0 for texts that an earlier run finished.

    Yields:
        Each block with its vectors.

    Raises:
        Qwen3ClientError: the first failure. Its `index` is the row of the corpus.
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
        assert vectors is not None  # noqa: S101 - a block has at least one text
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
    """Split indices of texts into calls of at most `_CALL_TEXTS` texts and `_CALL_TOKENS` tokens."""
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
        block: the block that the texts of the call are from.
        indices: their indices in the block.
    """
    try:
        yield
    except Qwen3ClientError as error:
        if error.index is None:
            raise
        raise error.about("row", block.rows[indices[error.index]]) from error.__cause__
