"""The client for programs without an event loop: the caller's thread waits for the work of `AsyncClient`.

This module knows nothing about models, tokenizers or transports.
"""

from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from itertools import islice
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .async_client import AsyncClient
from .at_once import NeedsLoopError, has_loop, run_at_once
from .base_client import BaseClient
from .call_options import Encoding, Judging
from .contract import ModelInfo, RerankerInfo
from .inputs import as_documents, as_pairs, as_several_texts, as_texts, as_token_ids, checked_text, refuse_one_text
from .options import ClientOptions, Kind, Priority, Truncate
from .outcome import Outcome
from .ranking import Judgement, RankedDocument
from .tokenizer import TokenRow
from .transports.base import Transport

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Client(BaseClient):
    """A client of one Triton server, for an embedding model and a reranker on it.

    Threads may share a client; `concurrency` then limits all of them together. A `Client` also works inside a running
    event loop, but blocks it: use `AsyncClient` there. A forked process needs a client of its own, created or first
    used after the fork, and one that uses HTTP if the parent process used gRPC. A client that is pickled or copied is
    made again from its options, and opens connections of its own. Close a client, or use it as a context manager.
    Nothing is sent before the first call, and the server is asked only about models that a call needs.

    A request that fails because the server is restarting or its queue is full is retried for up to `retry_s` seconds.
    If no server answers a client's very first request, that is an error at once. While the server's queue is full, the
    client sends fewer requests at once.

    Args:
        url: `host:8001` or `grpc://host:8001` for gRPC, `http://host:8000` for HTTP; `grpcs://` and `https://` for TLS.
        model: name of the embedding model on the server; None for the only one there.
        reranker: name of the reranker on the server; None for the only one there.
        tokenizer: folder with the embedding model's tokenizer.json, or a Hub id; None for the tokenizer that the
            server names. A tokenizer that the model was not exported with is refused.
        reranker_tokenizer: the same for the reranker.
        special_tokens: whether special tokens in texts, such as `<|im_end|>`, are read as such, as
            sentence-transformers and vLLM do. By default they are plain text, so that no text can forge a prompt.
        expected_fingerprint: the fingerprint that the embedding model must have, such as that of the vectors in an
            index: `info().fingerprint`. A model that has another one is refused. None for any model.
        expected_reranker_fingerprint: the same for the reranker.
        timeout_s: seconds that each request may take from the moment it is first sent, including its wait in the
            server's queue and all retries.
        retry_s: seconds for which a failed request is retried; 0 to never retry.
        concurrency: maximum number of requests on their way at once.
        tls: certificates, if the certificate authorities that the system trusts are not enough, or if the server asks
            for a client certificate.
        token: bearer token, sent with every request.
        headers: additional headers of every request; gRPC calls them metadata.
        transport: what carries the requests, such as a `FakeTransport` in tests; None to connect to `url`.

    Attributes:
        async_client: the `AsyncClient` that shares the connection.

    Raises:
        InvalidInputError: an argument cannot be used.
    """

    def _open(self, options: ClientOptions, transport: Transport | None) -> None:
        self.async_client = AsyncClient.from_options(options, transport=transport)

    def _picklable_options(self) -> ClientOptions:
        return self.async_client._picklable_options()

    @classmethod
    def over(cls, async_client: AsyncClient) -> "Client":
        """Return a client that shares the connection of an `AsyncClient`. Closing either closes both."""
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
        """Cancel all requests and close all connections. Closing again does nothing."""
        self.async_client._session.refuse_to_block()
        if (closing := self.async_client._session.close_soon()) is not None:
            closing.result()

    def info(self) -> ModelInfo:
        """Return what the served embedding model says about itself. The server is asked once.

        Raises:
            ContractMismatchError: the server has no such model, or more than one and none was named, or the model does
                not work with this client.
            Qwen3ClientError: the request failed, such as `ServerUnavailableError` if no server answers.
        """
        return self._run(self.async_client._embedding_model.info)

    def reranker_info(self) -> RerankerInfo:
        """Return what the served reranker says about itself. The server is asked once.

        Raises:
            ContractMismatchError: as for `info`.
            Qwen3ClientError: the request failed, such as `ServerUnavailableError` if no server answers.
        """
        return self._run(self.async_client._reranker.info)

    def is_ready(self) -> bool:
        """Return whether the server answers and accepts requests.

        It must accept them for every model that was named or has been used. If there is none yet, it must accept them
        for at least one embedding model or reranker.
        """
        return self._run(self.async_client._are_ready)

    def encode_query(
        self,
        texts: str | Sequence[str],
        *,
        instruction: str | None = None,
        dimensions: int | None = None,
        truncate: Truncate = True,
        priority: Priority | None = None,
    ) -> NDArray[np.float32]:
        """Embed queries, the texts that search for documents.

        Args:
            texts: one query, or several.
            instruction: the task, in one English sentence; None for the model's default.
            dimensions: length of the vectors, one that the model allows (MRL); None for the model's.
            truncate: which part is cut off from a query that is too long: True or "end" for the end, "start" for the
                beginning, but not the instruction; False to raise `TextTooLongError` instead.
            priority: "interactive", the default, is sent before "bulk" where requests wait, by this client and, if the
                model's configuration has priority levels, by the server.

        Returns:
            float32 `[dimensions]` for one query, `[n, dimensions]` for several, in their order; unit norm.

        Raises:
            InvalidInputError: a text or an option cannot be used.
            Qwen3ClientError: the first failure, in the order of the texts; the other requests are cancelled.
        """
        how = Encoding(
            kind="query", instruction=instruction, dimensions=dimensions, truncate=truncate, priority=priority
        )
        checked = as_texts(texts)
        return self._run_each(checked, self.async_client._encode, checked, how, is_one=isinstance(texts, str))

    def encode_document(
        self,
        texts: str | Sequence[str],
        *,
        dimensions: int | None = None,
        truncate: Truncate = True,
        priority: Priority | None = None,
    ) -> NDArray[np.float32]:
        """Embed documents, the texts that are searched.

        Args:
            texts: one document, or several.
            dimensions: length of the vectors, one that the model allows (MRL); None for the model's.
            truncate: which part is cut off from a document that is too long, as for `encode_query`.
            priority: "bulk", the default, or "interactive", as for `encode_query`.

        Returns:
            float32 `[dimensions]` for one document, `[n, dimensions]` for several, in their order; unit norm.

        Raises:
            InvalidInputError: a text or an option cannot be used.
            Qwen3ClientError: the first failure, in the order of the texts; the other requests are cancelled.
        """
        how = Encoding(kind="document", dimensions=dimensions, truncate=truncate, priority=priority)
        checked = as_texts(texts)
        return self._run_each(checked, self.async_client._encode, checked, how, is_one=isinstance(texts, str))

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
        """Embed any number of texts in bounded memory.

        Texts are read in groups of `concurrency`, and at most two groups are held in memory. Closing the iterator
        cancels the pending requests.

        Args:
            texts: the texts, such as the lines of a file.
            kind: whether they are queries or documents.
            instruction: the task of the queries; None for the model's default. Documents take none.
            dimensions: length of the vectors, one that the model allows (MRL); None for the model's.
            truncate: which part is cut off from a text that is too long, as for `encode_query`.
            priority: as for `encode_query`; None for "interactive" if the texts are queries, and "bulk" otherwise.

        Yields:
            One vector for each text, in their order: float32 `[dimensions]`, unit norm.

        Raises:
            InvalidInputError: an option cannot be used, which the call itself raises; or a text cannot be used, which
                the iterator raises when it reads the text, before it has yielded all vectors of the texts before it.
            Qwen3ClientError: a request failed; the vectors of all texts before it have been yielded.
        """
        refuse_one_text(texts, "encode_stream takes an iterable of texts, not one str: use encode_document")
        how = Encoding(kind=kind, instruction=instruction, dimensions=dimensions, truncate=truncate, priority=priority)
        return self._encode_stream(texts, how)

    def _encode_stream(self, texts: Iterable[str], how: Encoding) -> Iterator[NDArray[np.float32]]:
        """Embed any number of texts as `encode_stream` does."""
        client = self.async_client
        served, how = self._run(client._begin_stream, how)

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
                while group := list(islice(checked, client._session.options.concurrency)):
                    pending.append(client._start(client._call(client._embed, how.prompts(group), how, served)))
                    if len(pending) > 1:  # one group is on its way while the caller uses the rows of another
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
        """Rank documents by how well they meet a query, according to the reranker.

        Args:
            query: the query.
            documents: the documents to rank, such as the results of a search by embeddings.
            instruction: the task, in one English sentence; None for the model's default.
            top_k: how many of the best documents to return; None for all. All documents are judged.
            return_documents: whether to return the documents' texts too.
            truncate: whether a pair that is too long is cut; False to raise `TextTooLongError` instead. The query keeps
                at most half of the tokens that template and instruction leave, and the document gets the rest.
            priority: as for `encode_query`.

        Returns:
            The documents, the highest score first. Equal scores are ordered by their logits, then as in `documents`.

        Raises:
            InvalidInputError: a text or an option cannot be used.
            Qwen3ClientError: the first failure, in the order of the documents; the other requests are cancelled.
        """
        how = Judging(instruction=instruction, truncate=truncate, priority=priority)
        checked = as_documents(documents)
        return self._run_each(
            checked,
            self.async_client._rank,
            query,
            checked,
            how,
            top_k=top_k,
            return_documents=return_documents,
        )

    def score(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        instruction: str | None = None,
        truncate: bool = True,
        priority: Priority | None = None,
    ) -> NDArray[np.float32]:
        """Return the probability that each document meets its query.

        Args:
            pairs: tuples of a query and a document.
            instruction: the task, in one English sentence; None for the model's default.
            truncate: whether a pair that is too long is cut, as for `rank`.
            priority: as for `encode_query`.

        Returns:
            float32 `[n]`, from 0 to 1, in the order of the pairs.

        Raises:
            InvalidInputError: a text or an option cannot be used.
            Qwen3ClientError: the first failure, in the order of the pairs; the other requests are cancelled.
        """
        how = Judging(instruction=instruction, truncate=truncate, priority=priority)
        checked = as_pairs(pairs)
        return self._run_each(checked, self.async_client._score, checked, how)

    def tokenize(
        self,
        texts: Sequence[str],
        *,
        kind: Kind = "document",
        instruction: str | None = None,
        truncate: Truncate = True,
        fingerprint: str | None = None,
    ) -> list[NDArray[np.int64]]:
        """Turn texts into the token ids that the embedding model reads, which is the first half of encoding.

        Args:
            texts: the texts.
            kind: whether they are queries or documents.
            instruction: the task of the queries; None for the model's default. Documents take none.
            truncate: which part is cut off from a text that is too long, as for `encode_query`.
            fingerprint: `info().fingerprint` of the model that they are for, which no other one may answer; None for
                any.

        Returns:
            For each text, int64 `[n]`, including the end token.

        Raises:
            InvalidInputError: a text or an option cannot be used.
            ModelChangedError: the server has another model now.
            Qwen3ClientError: the tokenizer is not available.
        """
        rows = self.token_rows(texts, kind=kind, instruction=instruction, truncate=truncate, fingerprint=fingerprint)
        return [row.ids for row in rows]

    def token_rows(
        self,
        texts: Sequence[str],
        *,
        kind: Kind = "document",
        instruction: str | None = None,
        truncate: Truncate = True,
        max_tokens: int | None = None,
        max_total_tokens: int | None = None,
        fingerprint: str | None = None,
    ) -> list[TokenRow]:
        """Turn texts into token ids as `tokenize` does, within limits, and say which texts were cut.

        Args:
            texts: the texts.
            kind: whether they are queries or documents.
            instruction: the task of the queries; None for the model's default. Documents take none.
            truncate: which part is cut off from a text that is too long, as for `encode_query`.
            max_tokens: maximum number of tokens of one text, with instruction and end token; None for what the model
                takes.
            max_total_tokens: maximum number of tokens of all texts together; None for any number. What has more is
                refused from its characters, before it is tokenized, or as soon as there are too many tokens. A text
                with more than a million characters in a row that cannot be split is then refused too.
            fingerprint: the fingerprint that the model must have, as for `tokenize`.

        Returns:
            For each text its ids, int64 `[n]`, and whether it was cut.

        Raises:
            ModelChangedError: the server has another model now.
            TooManyTokensError: all texts together have too many tokens.
            InvalidInputError: a text or an option cannot be used.
            Qwen3ClientError: the tokenizer is not available.
        """
        return self._run(
            self.async_client._token_rows,
            as_several_texts(texts),
            Encoding(kind=kind, instruction=instruction, truncate=truncate),
            fingerprint,
            max_tokens=max_tokens,
            max_total_tokens=max_total_tokens,
        )

    def encode_tokens(
        self,
        input_ids: Sequence[ArrayLike],
        *,
        dimensions: int | None = None,
        priority: Priority | None = None,
        fingerprint: str | None = None,
    ) -> NDArray[np.float32]:
        """Embed token ids, which is the second half of encoding.

        Where the model may be replaced between `tokenize` and this, give `fingerprint` to both.

        Args:
            input_ids: integers `[n]` for each text, as `tokenize` returns them.
            dimensions: length of the vectors, one that the model allows (MRL); None for the model's.
            priority: "bulk", the default, or "interactive", as for `encode_query`.
            fingerprint: `info().fingerprint` of the model that they are for, which no other one may answer; None for
                any.

        Returns:
            float32 `[n, dimensions]`, in the order of the texts; unit norm.

        Raises:
            ModelChangedError: the server has another model now.
            InvalidInputError: an array or an option cannot be used, or the server refuses the ids.
            Qwen3ClientError: the first failure, in the order of the texts; the other requests are cancelled.
        """
        how = Encoding(kind="document", dimensions=dimensions, priority=priority)
        rows = as_token_ids(input_ids, noun="text")
        return self._run_each(rows, self.async_client._encode_tokens, rows, how, fingerprint)

    def tokenize_pairs(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        instruction: str | None = None,
        truncate: bool = True,
        fingerprint: str | None = None,
    ) -> list[NDArray[np.int64]]:
        """Turn pairs into the token ids that the reranker reads, which is the first half of scoring.

        Args:
            pairs: tuples of a query and a document.
            instruction: the task, in one English sentence; None for the model's default.
            truncate: whether a pair that is too long is cut, as for `rank`.
            fingerprint: `reranker_info().fingerprint` of the reranker that they are for, which no other one may answer;
                None for any.

        Returns:
            For each pair, int64 `[n]`, the whole prompt with the template of the Qwen3-Reranker model cards.

        Raises:
            InvalidInputError: a text or an option cannot be used.
            ModelChangedError: the server has another model now.
            Qwen3ClientError: the tokenizer is not available.
        """
        rows = self.token_rows_of_pairs(pairs, instruction=instruction, truncate=truncate, fingerprint=fingerprint)
        return [row.ids for row in rows]

    def token_rows_of_pairs(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        instruction: str | None = None,
        truncate: bool = True,
        max_total_tokens: int | None = None,
        fingerprint: str | None = None,
    ) -> list[TokenRow]:
        """Turn pairs into token ids as `tokenize_pairs` does, within a limit, and say what was cut.

        Args:
            pairs: tuples of a query and a document.
            instruction: the task, in one English sentence; None for the model's default.
            truncate: whether a pair that is too long is cut, as for `rank`.
            max_total_tokens: maximum number of tokens of all pairs together, as for `token_rows`.
            fingerprint: the fingerprint that the model must have, as for `tokenize`.

        Returns:
            For each pair its ids, int64 `[n]`, and whether query and document were cut.

        Raises:
            ModelChangedError: the server has another model now.
            TooManyTokensError: all pairs together have too many tokens.
            InvalidInputError: a text or an option cannot be used.
            Qwen3ClientError: the tokenizer is not available.
        """
        how = Judging(instruction=instruction, truncate=truncate)
        return self._run(
            self.async_client._token_rows_of_pairs,
            as_pairs(pairs),
            how,
            fingerprint,
            max_total_tokens=max_total_tokens,
        )

    def score_tokens(
        self, input_ids: Sequence[ArrayLike], *, priority: Priority | None = None, fingerprint: str | None = None
    ) -> list[Judgement]:
        """Judge the token ids of pairs, which is the second half of scoring.

        Args:
            input_ids: integers `[n]` for each pair, as `tokenize_pairs` returns them.
            priority: as for `encode_query`.
            fingerprint: `reranker_info().fingerprint` of the reranker that they are for, which no other one may answer;
                None for any.

        Returns:
            Score and logit, in the order of the pairs.

        Raises:
            ModelChangedError: the server has another model now.
            InvalidInputError: an array cannot be used, or the server refuses the ids.
            Qwen3ClientError: the first failure, in the order of the pairs; the other requests are cancelled.
        """
        rows = as_token_ids(input_ids, noun="pair")
        return self._run_each(rows, self.async_client._score_tokens, rows, Judging(priority=priority), fingerprint)

    def _run_each(
        self, texts: Sequence[Any], work: Callable[_P, Coroutine[Any, Any, _T]], *args: _P.args, **options: _P.kwargs
    ) -> _T:
        """Do the work of a call with texts: that of a single one in this thread, if nothing stands in the way."""
        session = self.async_client._session

        def run() -> _T:
            with suppress(NeedsLoopError):
                return run_at_once(work(*args, **options))
            return self._run(work, *args, **options)

        if len(texts) != 1 or has_loop() or not session.can_run_at_once:
            return self._run(work, *args, **options)
        session.claim()
        return copy_context().run(run)  # in which the session notes what failed

    def _run(self, work: Callable[_P, Coroutine[Any, Any, _T]], *args: _P.args, **options: _P.kwargs) -> _T:
        """Do the work of a call on the session's loop, and wait for its result in this thread.

        Texts are checked before, in this thread too: on that of `io_thread`, all clients would wait meanwhile.
        """
        client = self.async_client
        client._session.refuse_to_block()
        return _wait(client._start(client._call(work, *args, **options)))


def _wait(future: "Future[_T]") -> _T:
    try:
        return future.result()
    except BaseException:  # such as Ctrl-C: nobody waits for the result any more
        future.cancel()
        raise
