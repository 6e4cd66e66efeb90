"""The client: texts in, unit vectors out, in the same order.

One path serves every method: a window of texts is tokenized and sent, one request per text, and rows are
handed out from its front while the rest is on its way. What a text becomes, where it goes and how a vector is
cut are other modules' business.
"""

import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from itertools import islice
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from ._address import parse_address
from ._contract import DEFAULT_MODEL, ModelInfo
from ._errors import (
    ContractMismatchError,
    InvalidInputError,
    Qwen3ClientError,
    ServerTimeoutError,
    ServerUnavailableError,
)
from ._prompts import Kind, prompt_for
from ._texts import as_list, checked_text
from ._tokenizer import TextTokenizer
from ._transport import connect
from ._vectors import checked_dimensions, checked_row, cut

__all__ = ["Client"]


class Client:
    """A connection to one embedding model on one Triton server.

    Threads may share a client; `concurrency` then bounds all of them together. A process that forks makes its
    client after the fork. Close it, or use it as a context manager. Nothing is sent before the first call.

    Args:
        url: `host:8001` or `grpc://host:8001` for gRPC, `http://host:8000` for HTTP.
        model: name of the model on the server.
        tokenizer: folder that holds the model's tokenizer.json, or Hub id; by default the one that the server
            names. One that differs from the server's is refused.
        timeout_s: seconds that each request may take, its wait in the server's queue included.
        concurrency: most requests on their way at once.

    Raises:
        InvalidInputError: an argument cannot be used.
    """

    def __init__(
        self,
        url: str = "localhost:8001",
        *,
        model: str = DEFAULT_MODEL,
        tokenizer: str | os.PathLike[str] | None = None,
        timeout_s: float = 300.0,
        concurrency: int = 64,
    ) -> None:
        address = parse_address(url)
        if not 0 < timeout_s < math.inf:
            raise InvalidInputError(f"timeout_s must be a positive number of seconds, not {timeout_s!r}")
        if concurrency < 1:
            raise InvalidInputError(f"concurrency must be at least 1, not {concurrency!r}")
        self._model = checked_text(model, what="model")
        self._tokenizer_place = tokenizer
        self._timeout_s = timeout_s
        self._concurrency = concurrency
        self._is_closed = False
        self._lock = threading.Lock()
        self._info: ModelInfo | None = None
        self._tokenizer: TextTokenizer | None = None
        self._transport = connect(address)
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="qwen3-client")

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives up what is on its way and closes all connections. Closing again does nothing."""
        self._is_closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._transport.close()  # wakes the threads that wait for an answer
        self._pool.shutdown(wait=True)

    @property
    def info(self) -> ModelInfo:
        """What the served model says about itself; asked once.

        Raises:
            ContractMismatchError: the server has no such model, or one that this client does not work with.
            ServerUnavailableError: no server answers. (And the other errors of a request.)
        """
        with self._lock:
            if self._info is None:
                self._refuse_if_closed()
                config = self._transport.model_config(self._model, timeout_s=self._timeout_s)
                self._info = ModelInfo.from_config(config)
            return self._info

    def is_ready(self) -> bool:
        """Says whether the server answers and would take a request for the model."""
        self._refuse_if_closed()
        try:
            return self._transport.is_ready(self._model, timeout_s=self._timeout_s)
        except (ContractMismatchError, ServerTimeoutError, ServerUnavailableError):
            return False

    def encode_query(
        self,
        texts: str | Sequence[str],
        *,
        instruction: str | None = None,
        dimensions: int | None = None,
        truncate: bool = True,
    ) -> NDArray[np.float32]:
        """Embeds queries: texts that look for documents.

        Args:
            texts: one query, or several.
            instruction: the task, in one English sentence; None for the model's default.
            dimensions: length of the vectors, from 32 to the model's; None for the model's.
            truncate: whether a query that is too long loses its end instead of raising.

        Returns:
            float32 `[dimensions]` for one query, `[n, dimensions]` for several, in their order; unit norm.

        Raises:
            InvalidInputError: a text or an option cannot be used.
            Qwen3ClientError: the first failure, in the order of the texts; the rest is given up.
        """
        return self._encode(texts, kind="query", instruction=instruction, dimensions=dimensions, truncate=truncate)

    def encode_document(
        self, texts: str | Sequence[str], *, dimensions: int | None = None, truncate: bool = True
    ) -> NDArray[np.float32]:
        """Embeds documents: texts that are found.

        Args:
            texts: one document, or several.
            dimensions: length of the vectors, from 32 to the model's; None for the model's.
            truncate: whether a document that is too long loses its end instead of raising.

        Returns:
            float32 `[dimensions]` for one document, `[n, dimensions]` for several, in their order; unit norm.

        Raises:
            InvalidInputError: a text or an option cannot be used.
            Qwen3ClientError: the first failure, in the order of the texts; the rest is given up.
        """
        return self._encode(texts, kind="document", instruction=None, dimensions=dimensions, truncate=truncate)

    def encode_stream(
        self,
        texts: Iterable[str],
        *,
        kind: Kind = "document",
        instruction: str | None = None,
        dimensions: int | None = None,
        truncate: bool = True,
    ) -> Iterator[NDArray[np.float32]]:
        """Embeds any number of texts in bounded memory.

        Texts are taken `concurrency` at a time, and at most twice as many are held. Closing the iterator
        gives up what is pending.

        Args:
            texts: the texts, such as the lines of a file.
            kind: whether they are queries or documents.
            instruction: the task of the queries; None for the model's default. Documents take none.
            dimensions: length of the vectors, from 32 to the model's; None for the model's.
            truncate: whether a text that is too long loses its end instead of raising.

        Yields:
            One vector for each text, in their order: float32 `[dimensions]`, unit norm.

        Raises:
            InvalidInputError: an option cannot be used (at once), or a text cannot (when it is read, which
                is before the last rows of the texts before it are given out).
            Qwen3ClientError: the first failure of a request, after the rows of the texts before it.
        """
        if isinstance(texts, str):
            raise InvalidInputError("encode_stream takes an iterable of texts, not one str: use encode_document")
        info = self.info
        return self._rows(
            texts,
            prompt=prompt_for(kind, instruction=instruction, default_instruction=info.default_instruction),
            tokenizer=self._load_tokenizer(info),
            full=info.dimensions,
            dimensions=checked_dimensions(dimensions, full=info.dimensions),
            truncate=truncate,
        )

    def _encode(
        self,
        texts: str | Sequence[str],
        *,
        kind: Kind,
        instruction: str | None,
        dimensions: int | None,
        truncate: bool,
    ) -> NDArray[np.float32]:
        # All texts are checked before the first is sent, so that a bad one costs nothing.
        batch = as_list([texts] if isinstance(texts, str) else texts)
        rows = self.encode_stream(batch, kind=kind, instruction=instruction, dimensions=dimensions, truncate=truncate)
        vectors = np.empty((len(batch), checked_dimensions(dimensions, full=self.info.dimensions)), dtype=np.float32)
        for index, row in enumerate(rows):
            vectors[index] = row
        return vectors[0] if isinstance(texts, str) else vectors

    def _rows(
        self,
        texts: Iterable[str],
        *,
        prompt: Callable[[str], str],
        tokenizer: TextTokenizer,
        full: int,
        dimensions: int,
        truncate: bool,
    ) -> Iterator[NDArray[np.float32]]:
        """Keeps a window of requests on their way and yields from its front."""
        pending: deque[Future[NDArray[np.float32]]] = deque()
        source = iter(texts)
        sent = 0
        try:
            while group := list(islice(source, self._concurrency)):
                prompts = [prompt(checked_text(text, index=sent + i)) for i, text in enumerate(group)]
                for input_ids in tokenizer.encode(prompts, truncate=truncate, first_index=sent):
                    pending.append(self._submit(input_ids, index=sent, full=full, dimensions=dimensions))
                    sent += 1
                # What stays on its way while the next group is read and tokenized.
                while len(pending) > self._concurrency:
                    yield self._wait(pending.popleft())
            while pending:
                yield self._wait(pending.popleft())
        finally:
            for future in pending:
                future.cancel()

    def _submit(
        self, input_ids: NDArray[np.int64], *, index: int, full: int, dimensions: int
    ) -> Future[NDArray[np.float32]]:
        def row() -> NDArray[np.float32]:
            try:
                output = self._transport.infer(self._model, input_ids, timeout_s=self._timeout_s)
                return cut(checked_row(output, dimensions=full), dimensions=dimensions)
            except Qwen3ClientError as error:
                error.index = index
                raise

        try:
            return self._pool.submit(row)
        except RuntimeError:
            self._refuse_if_closed()  # the pool takes nothing more, as another thread closed the client
            raise

    def _wait(self, future: Future[NDArray[np.float32]]) -> NDArray[np.float32]:
        try:
            return future.result()
        except (CancelledError, Qwen3ClientError, ValueError):  # ValueError: gRPC's for a closed channel
            self._refuse_if_closed()  # if another thread closed the client, that is why this failed
            raise

    def _load_tokenizer(self, info: ModelInfo) -> TextTokenizer:
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = TextTokenizer.load(info, tokenizer=self._tokenizer_place)
            return self._tokenizer

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise Qwen3ClientError("this Client is closed; make a new one")
