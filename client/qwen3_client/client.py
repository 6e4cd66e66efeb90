"""`AsyncClient` for programs without an event loop: each method waits, in the caller's thread, for the same of it."""

from collections import deque
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import Future
from itertools import islice
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .async_client import AsyncClient, Encoding
from .base_client import BaseClient
from .contract import ModelInfo, RerankerInfo
from .errors import InvalidInputError
from .inputs import checked_text, in_memory
from .options import ClientOptions, Kind, Priority, Truncate
from .outcome import Outcome
from .ranking import Judgement, RankedDocument
from .transports.base import Transport

_T = TypeVar("_T")


class Client(BaseClient):
    """A connection to one Triton server, to an embedding model and a reranker on it.

    Threads may share a client; `concurrency` then bounds all of them together. It works inside a running event loop
    too, which it blocks: there, use `AsyncClient`. A process that forks uses a client of its own, made or first used
    after the fork; over HTTP, if its parent used gRPC. Close it, or use it as a context manager. Nothing is sent before
    the first call, and nothing is asked about a model that no call needs.

    A request that finds the server away, restarting or its queue full is tried again for `retry_s` seconds, unless the
    server was never there; while its queue is full, fewer requests are sent at once.

    Args:
        url: `host:8001` or `grpc://host:8001` for gRPC, `http://host:8000` for HTTP; `grpcs://` and `https://` for TLS.
        model: name of the embedding model on the server; None for the only one there.
        reranker: name of the reranker on the server; None for the only one there.
        tokenizer: folder that holds the embedding model's tokenizer.json, or Hub id; by default the one that the
            server names. One that differs from the server's is refused.
        reranker_tokenizer: the same for the reranker.
        timeout_s: seconds that each request may take once it was sent, its wait in the server's queue and all its
            tries included.
        retry_s: seconds for which a request is tried again; 0 for never.
        concurrency: most requests on their way at once.
        tls: certificates, where the system's authorities are not enough.
        token: bearer token, sent with every request.
        headers: more headers of every request; gRPC calls them metadata.
        transport: what carries the requests, such as a `FakeTransport` in tests; None to connect to `url`.

    Attributes:
        async_client: the same connection, for calls that are awaited.

    Raises:
        InvalidInputError: an argument cannot be used.
    """

    def _open(self, options: ClientOptions, transport: Transport | None) -> None:
        self.async_client = AsyncClient.from_options(options, transport=transport)

    @classmethod
    def over(cls, async_client: AsyncClient) -> "Client":
        """Return a client over the connection of an `AsyncClient`; closing either closes both."""
        client = cls.__new__(cls)
        client.async_client = async_client
        return client

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
        if (closing := self.async_client._session.close_soon()) is not None:
            closing.result()

    def info(self) -> ModelInfo:
        """Says what the served embedding model says about itself; asked once.

        Raises:
            ContractMismatchError: the server has no such model, more than one where none was named, or one that
                this client does not work with.
            ServerUnavailableError: no server answers. (And the other errors of a request.)
        """
        return self._run(self.async_client.info())

    def reranker_info(self) -> RerankerInfo:
        """Says what the served reranker says about itself; asked once.

        Raises:
            ContractMismatchError: as for `info`.
            ServerUnavailableError: no server answers. (And the other errors of a request.)
        """
        return self._run(self.async_client.reranker_info())

    def is_ready(self) -> bool:
        """Says whether the server answers and would take requests.

        That is, for every model that was named or used before; without any, for at least one of either kind.
        """
        return self._run(self.async_client.is_ready())

    def encode_query(
        self,
        texts: str | Sequence[str],
        *,
        instruction: str | None = None,
        dimensions: int | None = None,
        truncate: Truncate = True,
        priority: Priority | None = None,
    ) -> NDArray[np.float32]:
        """Embeds queries: texts that look for documents.

        Args:
            texts: one query, or several.
            instruction: the task, in one English sentence; None for the model's default.
            dimensions: length of the vectors, from 32 to the model's; None for the model's.
            truncate: what a query that is too long loses: True or "end" its end, "start" its beginning, the
                instruction with it; False raises instead.
            priority: "interactive", the default, to go before what waits as "bulk", in this client and, where its
                configuration has levels, in the server.

        Returns:
            float32 `[dimensions]` for one query, `[n, dimensions]` for several, in their order; unit norm.

        Raises:
            InvalidInputError: a text or an option cannot be used.
            Qwen3ClientError: the first failure, in the order of the texts; the rest is given up.
        """
        return self._run(
            self.async_client.encode_query(
                in_memory(texts),
                instruction=instruction,
                dimensions=dimensions,
                truncate=truncate,
                priority=priority,
            )
        )

    def encode_document(
        self,
        texts: str | Sequence[str],
        *,
        dimensions: int | None = None,
        truncate: Truncate = True,
        priority: Priority | None = None,
    ) -> NDArray[np.float32]:
        """Embeds documents: texts that are found.

        Args:
            texts: one document, or several.
            dimensions: length of the vectors, from 32 to the model's; None for the model's.
            truncate: what a document that is too long loses: True or "end" its end, "start" its beginning; False
                raises instead.
            priority: "bulk", the default, or "interactive", as for `encode_query`.

        Returns:
            float32 `[dimensions]` for one document, `[n, dimensions]` for several, in their order; unit norm.

        Raises:
            InvalidInputError: a text or an option cannot be used.
            Qwen3ClientError: the first failure, in the order of the texts; the rest is given up.
        """
        return self._run(
            self.async_client.encode_document(
                in_memory(texts), dimensions=dimensions, truncate=truncate, priority=priority
            )
        )

    def encode_stream(
        self,
        texts: Iterable[str],
        *,
        kind: Kind = "document",
        instruction: str | None = None,
        dimensions: int | None = None,
        truncate: Truncate = True,
        priority: Priority | None = None,
    ) -> Iterator[NDArray[np.float32]]:
        """Embeds any number of texts in bounded memory.

        Texts are taken `concurrency` at a time, and at most twice as many are held. Closing the iterator
        gives up what is pending.

        Args:
            texts: the texts, such as the lines of a file.
            kind: whether they are queries or documents.
            instruction: the task of the queries; None for the model's default. Documents take none.
            dimensions: length of the vectors, from 32 to the model's; None for the model's.
            truncate: what a text that is too long loses, as for `encode_query`.
            priority: as for `encode_query`; None for "interactive" if the texts are queries, else "bulk".

        Yields:
            One vector for each text, in their order: float32 `[dimensions]`, unit norm.

        Raises:
            InvalidInputError: an option cannot be used (at once), or a text cannot (when it is read, which
                is before the last rows of the texts before it are given out).
            Qwen3ClientError: the first failure of a request, after the rows of the texts before it.
        """
        if isinstance(texts, str):
            raise InvalidInputError("encode_stream takes an iterable of texts, not one str: use encode_document")
        how = Encoding(kind=kind, instruction=instruction, dimensions=dimensions, truncate=truncate, priority=priority)
        return self._encode_stream(texts, how)

    def _encode_stream(self, texts: Iterable[str], how: Encoding) -> Iterator[NDArray[np.float32]]:
        """Embed any number of texts as `encode_stream` does."""
        how = self._run(self.async_client._completed(how))
        session = self.async_client._session

        def rows() -> Iterator[NDArray[np.float32]]:
            checked = (checked_text(text, index=index) for index, text in enumerate(texts))
            count = 0
            pending: deque[Future[Outcome[NDArray[np.float32]]]] = deque()

            def finished() -> Iterator[NDArray[np.float32]]:
                nonlocal count
                outcome = _wait(pending.popleft())
                yield from outcome.results
                count += len(outcome.results)
                outcome.check("text", stop=count)

            try:
                while group := list(islice(checked, session.options.concurrency)):
                    pending.append(session.submit(self.async_client._embed(group, how)))
                    if len(pending) > 1:  # one group stays on its way while its caller uses the rows of another
                        yield from finished()
                while pending:
                    yield from finished()
            finally:
                for future in pending:
                    future.cancel()

        return rows()

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        instruction: str | None = None,
        top_k: int | None = None,
        return_documents: bool = False,
        truncate: bool = True,
        priority: Priority | None = None,
    ) -> list[RankedDocument]:
        """Puts documents in order of how well they meet a query, as the reranker judges each.

        Args:
            query: what is looked for.
            documents: where it is looked for, such as what a search by embeddings found.
            instruction: the task, in one English sentence; None for the model's default.
            top_k: how many documents to return, the best; None for all. All are judged.
            return_documents: whether to return the documents' texts too.
            truncate: whether a document that is too long loses its end instead of raising.
            priority: as for `encode_query`.

        Returns:
            The documents, the highest score first. Equal scores go by the logit, then by the order of `documents`.

        Raises:
            InvalidInputError: a text or an option cannot be used.
            Qwen3ClientError: the first failure, in the order of the documents; the rest is given up.
        """
        return self._run(
            self.async_client.rank(
                query,
                in_memory(documents),
                instruction=instruction,
                top_k=top_k,
                return_documents=return_documents,
                truncate=truncate,
                priority=priority,
            )
        )

    def score(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        instruction: str | None = None,
        truncate: bool = True,
        priority: Priority | None = None,
    ) -> NDArray[np.float32]:
        """Judges how well documents meet queries.

        Args:
            pairs: each a query and a document.
            instruction: the task, in one English sentence; None for the model's default.
            truncate: whether a document that is too long loses its end instead of raising.
            priority: as for `encode_query`.

        Returns:
            float32 `[n]`, from 0 to 1, in the order of the pairs.

        Raises:
            InvalidInputError: a text or an option cannot be used.
            Qwen3ClientError: the first failure, in the order of the pairs; the rest is given up.
        """
        return self._run(
            self.async_client.score(in_memory(pairs), instruction=instruction, truncate=truncate, priority=priority)
        )

    def tokenize(
        self,
        texts: Sequence[str],
        *,
        kind: Kind = "document",
        instruction: str | None = None,
        truncate: Truncate = True,
    ) -> list[NDArray[np.int64]]:
        """Turns texts into token ids as the embedding model reads them: the first half of encoding them.

        Args:
            texts: the texts.
            kind: whether they are queries or documents.
            instruction: the task of the queries; None for the model's default. Documents take none.
            truncate: what a text that is too long loses, as for `encode_query`.

        Returns:
            For each text, int64 `[n]`, the end-of-text token included.

        Raises:
            InvalidInputError: a text or an option cannot be used.
            Qwen3ClientError: the tokenizer cannot be had.
        """
        return self._run(
            self.async_client.tokenize(in_memory(texts), kind=kind, instruction=instruction, truncate=truncate)
        )

    def encode_tokens(
        self, input_ids: Sequence[ArrayLike], *, dimensions: int | None = None, priority: Priority | None = None
    ) -> NDArray[np.float32]:
        """Embeds token ids: the second half of encoding texts.

        Args:
            input_ids: whole numbers `[n]` for each text, as from `tokenize`.
            dimensions: length of the vectors, from 32 to the model's; None for the model's.
            priority: "bulk", the default, or "interactive", as for `encode_query`.

        Returns:
            float32 `[n, dimensions]`, in the order of the texts; unit norm.

        Raises:
            InvalidInputError: an array or an option cannot be used, or the server refuses its ids.
            Qwen3ClientError: the first failure, in the order of the texts; the rest is given up.
        """
        return self._run(
            self.async_client.encode_tokens(in_memory(input_ids), dimensions=dimensions, priority=priority)
        )

    def tokenize_pairs(
        self, pairs: Sequence[tuple[str, str]], *, instruction: str | None = None, truncate: bool = True
    ) -> list[NDArray[np.int64]]:
        """Turns pairs into token ids as the reranker reads them: the first half of scoring them.

        Args:
            pairs: each a query and a document.
            instruction: the task, in one English sentence; None for the model's default.
            truncate: whether a document that is too long loses its end instead of raising.

        Returns:
            For each pair, int64 `[n]`, the whole official prompt.

        Raises:
            InvalidInputError: a text or an option cannot be used.
            Qwen3ClientError: the tokenizer cannot be had.
        """
        return self._run(self.async_client.tokenize_pairs(in_memory(pairs), instruction=instruction, truncate=truncate))

    def score_tokens(self, input_ids: Sequence[ArrayLike], *, priority: Priority | None = None) -> list[Judgement]:
        """Judges token ids: the second half of scoring pairs.

        Args:
            input_ids: whole numbers `[n]` for each pair, as from `tokenize_pairs`.
            priority: as for `encode_query`.

        Returns:
            Score and logit, in the order of the pairs.

        Raises:
            InvalidInputError: an array cannot be used, or the server refuses its ids.
            Qwen3ClientError: the first failure, in the order of the pairs; the rest is given up.
        """
        return self._run(self.async_client.score_tokens(in_memory(input_ids), priority=priority))

    def _run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        return _wait(self.async_client._session.submit(coroutine))


def _wait(future: "Future[_T]") -> _T:
    try:
        return future.result()
    except BaseException:  # such as Ctrl-C: what nobody waits for is given up
        future.cancel()
        raise
