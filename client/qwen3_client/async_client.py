"""The implementation of the client, for programs with an event loop: from texts to unit vectors or rankings.

Every text takes the same steps: its prompt is made (`prompts`) and turned into token ids (`tokenizer`), the server
answers (`served_model`, `session`, `transports`), and the vector is cut (`vectors`) or the documents are put in order
(`ranking`).

The work is done on the thread of `io_thread`, so one client serves any number of event loops, and neither tokenizing
nor a slow server blocks any of them; or on a loop that the program chose. What `Client` does with one text may also run
without a loop, see `at_once`. This module knows nothing about retries or protocols.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Future
from contextlib import aclosing
from types import TracebackType
from typing import Any, ParamSpec, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .base_client import BaseClient
from .call_options import Encoding, Judging
from .contract import EMBEDDING_NAME, LOGIT_NAME, SCORE_NAME, ModelInfo, RerankerInfo
from .current_model import CurrentModel
from .cuts import CutCounter
from .errors import ContractMismatchError, ServerTimeoutError, ServerUnavailableError
from .frame import Prompt
from .inputs import (
    as_documents,
    as_pairs,
    as_several_texts,
    as_texts,
    as_token_ids,
    checked_text,
    in_groups,
    refuse_one_text,
)
from .options import ClientOptions, Kind, Priority, Truncate
from .outcome import Outcome
from .ranking import JudgedPair, Judgement, RankedDocument, checked_top_k, ranked
from .served_model import ServedModel
from .session import Session
from .token_ids import check_ids
from .tokenizer import TokenRow
from .transports.base import Transport
from .vectors import cut

_P = ParamSpec("_P")
_T = TypeVar("_T")

Vectors: TypeAlias = NDArray[np.float32]


class AsyncClient(BaseClient):
    """An asyncio client of one Triton server, for an embedding model and a reranker on it.

    The constructor takes the arguments of `Client`, and the methods take and return what those of `Client` do. Tasks,
    event loops and threads may share a client. Cancelling a call cancels its requests on the server too.
    """

    def _open(self, options: ClientOptions, transport: Transport | None) -> None:
        self._session = Session(options, transport=transport)
        self._embedding_model = CurrentModel(
            self._session,
            ModelInfo,
            name=options.model,
            tokenizer=options.tokenizer,
            fingerprint=options.expected_fingerprint,
        )
        self._reranker = CurrentModel(
            self._session,
            RerankerInfo,
            name=options.reranker,
            tokenizer=options.reranker_tokenizer,
            fingerprint=options.expected_reranker_fingerprint,
        )

    def _picklable_options(self) -> ClientOptions:
        return self._session.picklable_options()

    def on_running_loop(self) -> "AsyncClient":
        """Do all work of this client on the running event loop, instead of on the thread that all clients share.

        This saves a change of threads per call, about two tenths of a millisecond, in a program that has one event
        loop. Texts that take longer than 1.3 ms to tokenize still go to another thread. From then on, the loop must run
        whenever the client is used, also from other loops and threads, and until it is closed.

        With a grpcio older than 1.80, the clients of a program that use gRPC must all work on the same loop.

        Returns:
            The client itself.

        Raises:
            Qwen3ClientError: the client was used before.
            RuntimeError: no event loop is running.
        """
        self._session.work_on_running_loop()
        return self

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """See `Client.close`."""
        if (closing := self._session.close_soon()) is not None:
            await asyncio.wrap_future(closing)

    async def info(self) -> ModelInfo:
        """See `Client.info`."""
        return await self._run(self._embedding_model.info)

    async def reranker_info(self) -> RerankerInfo:
        """See `Client.reranker_info`."""
        return await self._run(self._reranker.info)

    async def is_ready(self) -> bool:
        """See `Client.is_ready`."""
        return await self._run(self._are_ready)

    def _expect(self, fingerprint: str | None) -> None:
        """Refuse, from now on, an embedding model with another fingerprint; None for any."""
        self._embedding_model.fingerprint = fingerprint

    def _count_cuts(self) -> CutCounter:
        """Return a counter of what is cut off, from now on, from texts that are too long for the embedding model."""
        counter = self._embedding_model.cut_counter = CutCounter()
        return counter

    async def encode_query(
        self,
        texts: str | Sequence[str],
        *,
        instruction: str | None = None,
        dimensions: int | None = None,
        truncate: Truncate = True,
        priority: Priority | None = None,
    ) -> Vectors:
        """See `Client.encode_query`."""
        how = Encoding(
            kind="query", instruction=instruction, dimensions=dimensions, truncate=truncate, priority=priority
        )
        return await self._run(self._encode, as_texts(texts), how, is_one=isinstance(texts, str))

    async def encode_document(
        self,
        texts: str | Sequence[str],
        *,
        dimensions: int | None = None,
        truncate: Truncate = True,
        priority: Priority | None = None,
    ) -> Vectors:
        """See `Client.encode_document`."""
        how = Encoding(kind="document", dimensions=dimensions, truncate=truncate, priority=priority)
        return await self._run(self._encode, as_texts(texts), how, is_one=isinstance(texts, str))

    async def encode_stream(
        self,
        texts: Iterable[str] | AsyncIterable[str],
        *,
        kind: Kind = "document",
        instruction: str | None = None,
        dimensions: int | None = None,
        truncate: Truncate = True,
        priority: Priority | None = None,
    ) -> AsyncIterator[Vectors]:
        """See `Client.encode_stream`. The texts may also come from an asynchronous iterable.

        Options are checked when the first vector is requested.
        """
        refuse_one_text(texts, "encode_stream takes an iterable of texts, not one str: use encode_document")
        how = Encoding(kind=kind, instruction=instruction, dimensions=dimensions, truncate=truncate, priority=priority)
        served, how = await self._run(self._begin_stream, how)
        count = 0
        pending: deque[asyncio.Future[Outcome[Vectors]]] = deque()

        async def finished() -> AsyncIterator[Vectors]:
            nonlocal count
            outcome = await pending.popleft()
            for row in outcome.results:
                yield row
            count += len(outcome.results)
            outcome.check("text", stop=count)

        try:
            async for group in in_groups(texts, size=self._session.options.concurrency):
                call = self._call(self._embed, how.prompts(group), how, served)
                pending.append(asyncio.wrap_future(self._start(call)))
                if len(pending) > 1:  # one group is on its way while the caller uses the rows of another
                    async for row in finished():
                        yield row
            while pending:
                async for row in finished():
                    yield row
        finally:
            for future in pending:
                future.cancel()

    async def tokenize(
        self,
        texts: Sequence[str],
        *,
        kind: Kind = "document",
        instruction: str | None = None,
        truncate: Truncate = True,
        fingerprint: str | None = None,
    ) -> list[NDArray[np.int64]]:
        """See `Client.tokenize`."""
        rows = await self.token_rows(
            texts, kind=kind, instruction=instruction, truncate=truncate, fingerprint=fingerprint
        )
        return [row.ids for row in rows]

    async def token_rows(
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
        """See `Client.token_rows`."""
        return await self._run(
            self._token_rows,
            as_several_texts(texts),
            Encoding(kind=kind, instruction=instruction, truncate=truncate),
            fingerprint,
            max_tokens=max_tokens,
            max_total_tokens=max_total_tokens,
        )

    async def encode_tokens(
        self,
        input_ids: Sequence[ArrayLike],
        *,
        dimensions: int | None = None,
        priority: Priority | None = None,
        fingerprint: str | None = None,
    ) -> Vectors:
        """See `Client.encode_tokens`."""
        how = Encoding(kind="document", dimensions=dimensions, priority=priority)
        return await self._run(self._encode_tokens, as_token_ids(input_ids, noun="text"), how, fingerprint)

    async def rank(
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
        """See `Client.rank`."""
        how = Judging(instruction=instruction, truncate=truncate, priority=priority)
        return await self._run(
            self._rank, query, as_documents(documents), how, top_k=top_k, return_documents=return_documents
        )

    async def score(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        instruction: str | None = None,
        truncate: bool = True,
        priority: Priority | None = None,
    ) -> NDArray[np.float32]:
        """See `Client.score`."""
        how = Judging(instruction=instruction, truncate=truncate, priority=priority)
        return await self._run(self._score, as_pairs(pairs), how)

    async def tokenize_pairs(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        instruction: str | None = None,
        truncate: bool = True,
        fingerprint: str | None = None,
    ) -> list[NDArray[np.int64]]:
        """See `Client.tokenize_pairs`."""
        rows = await self.token_rows_of_pairs(
            pairs, instruction=instruction, truncate=truncate, fingerprint=fingerprint
        )
        return [row.ids for row in rows]

    async def token_rows_of_pairs(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        instruction: str | None = None,
        truncate: bool = True,
        max_total_tokens: int | None = None,
        fingerprint: str | None = None,
    ) -> list[TokenRow]:
        """See `Client.token_rows_of_pairs`."""
        how = Judging(instruction=instruction, truncate=truncate)
        return await self._run(
            self._token_rows_of_pairs, as_pairs(pairs), how, fingerprint, max_total_tokens=max_total_tokens
        )

    async def score_tokens(
        self, input_ids: Sequence[ArrayLike], *, priority: Priority | None = None, fingerprint: str | None = None
    ) -> list[Judgement]:
        """See `Client.score_tokens`."""
        rows = as_token_ids(input_ids, noun="pair")
        return await self._run(self._score_tokens, rows, Judging(priority=priority), fingerprint)

    # How a call gets to the session's loop, which every method does once, and every method of `Client`.

    async def _run(self, work: Callable[_P, Awaitable[_T]], *args: _P.args, **options: _P.kwargs) -> _T:
        """Do the work of a call on the session's loop, and await it in any other. If cancelled, await its end."""
        call = self._call(work, *args, **options)
        if self._session.loop.is_current():
            # A task of its own, because closing the session cancels it, and must not cancel the caller's.
            return await asyncio.create_task(call)
        future = asyncio.wrap_future(self._start(call))
        try:
            return await future
        except asyncio.CancelledError:
            await asyncio.wrap_future(self._session.loop.submit(self._session.wait_for_end(call)))
            raise

    def _start(self, call: Coroutine[Any, Any, _T]) -> "Future[_T]":
        """Start a call of `_call` on the session's loop, from any thread. Cancelling the future cancels the call.

        Raises:
            Qwen3ClientError: the session is closed, or another process opened it.
        """
        try:
            self._session.claim()
            return self._session.loop.submit(call)
        except Exception:  # not KeyboardInterrupt, which may come when the call is under way already
            call.close()  # it will never run
            raise

    async def _call(self, work: Callable[_P, Awaitable[_T]], *args: _P.args, **options: _P.kwargs) -> _T:
        with self._session.call():
            return await work(*args, **options)

    # What follows runs on the session's loop; with one text, it may also run at once.

    async def _are_ready(self) -> bool:
        models = (self._embedding_model, self._reranker)
        known = [model for model in models if model.name is not None]
        try:
            if known:
                return all([await model.is_ready() for model in known])
            return any([await model.is_ready() for model in models])
        except (ContractMismatchError, ServerTimeoutError, ServerUnavailableError):
            return False

    async def _encode(self, texts: Sequence[str], how: Encoding, *, is_one: bool) -> Vectors:
        """Embed the texts of a call: float32 `[n, dimensions]`, or `[dimensions]` if the caller gave one text alone."""
        for attempt in self._embedding_model.attempts():
            async with attempt as served:
                complete = how.completed(served.info)
                prompts = complete.prompts(texts)
                await served.check(prompts, truncate=how.truncate, noun="text")
                table = _table((await self._embed(prompts, complete, served)).all("text"), complete)
                return table[0] if is_one else table
        raise AssertionError("unreachable")

    async def _begin_stream(self, how: Encoding) -> tuple[ServedModel[ModelInfo], Encoding]:
        # Its vectors are used before its end, so it can't begin again: better to ask first.
        served = await self._embedding_model.get(max_age_s=0)
        return served, how.completed(served.info)

    async def _encode_tokens(
        self, rows: Sequence[NDArray[np.int64]], how: Encoding, fingerprint: str | None
    ) -> Vectors:
        served = await self._embedding_model.with_fingerprint(fingerprint)
        how = how.completed(served.info)
        check_ids(rows, served.info, noun="text")
        async with self._embedding_model.followed(served):
            outcome = await self._embed([TokenRow(ids) for ids in rows], how, served)
        return _table(outcome.all("text"), how)

    async def _embed(
        self, texts: Sequence[Prompt | TokenRow], how: Encoding, served: ServedModel[ModelInfo]
    ) -> Outcome[Vectors]:
        """Embed texts: the model answers, and the vectors are cut to float32 `[dimensions]`."""
        vectors: list[Vectors] = []
        async with aclosing(served.answers(texts, truncate=how.truncate, priority=how.priority)) as groups:
            async for answers in groups:
                cuts = (
                    cut(answer.outputs[EMBEDDING_NAME], dimensions=how.dimensions, is_normalized=how.is_normalized)
                    for answer in answers.results
                )
                outcome = Outcome.collect(cuts, failure=answers.failure)
                vectors += outcome.results
                if outcome.failure is not None:
                    return Outcome(vectors, outcome.failure)
        return Outcome(vectors)

    async def _token_rows(
        self,
        texts: Sequence[str],
        how: Encoding,
        fingerprint: str | None,
        *,
        max_tokens: int | None = None,
        max_total_tokens: int | None = None,
    ) -> list[TokenRow]:
        served = await self._embedding_model.with_fingerprint(fingerprint)
        prompts = how.completed(served.info).prompts(texts)
        await served.check(prompts, truncate=how.truncate, noun="text", max_total_tokens=max_total_tokens)
        rows = await served.tokenize(
            prompts, truncate=how.truncate, max_tokens=max_tokens, max_total_tokens=max_total_tokens
        )
        return rows.all("text")

    async def _rank(
        self, query: str, documents: Sequence[str], how: Judging, *, top_k: int | None, return_documents: bool
    ) -> list[RankedDocument]:
        checked_text(query, what="the query")
        most = checked_top_k(top_k)
        pairs = await self._judge_pairs([(query, document) for document in documents], how, noun="document")
        return ranked(pairs, documents=documents if return_documents else None, top_k=most)

    async def _score(self, pairs: Sequence[tuple[str, str]], how: Judging) -> NDArray[np.float32]:
        judged = await self._judge_pairs(pairs, how, noun="pair")
        return np.array([pair.judgement.score for pair in judged], dtype=np.float32)

    async def _judge_pairs(self, pairs: Sequence[tuple[str, str]], how: Judging, *, noun: str) -> list[JudgedPair]:
        for attempt in self._reranker.attempts():
            async with attempt as served:
                complete = how.completed(served.info)
                prompts = complete.prompts(pairs)
                await served.check(prompts, truncate=how.truncate, noun=noun)
                return (await self._judge(prompts, complete, served)).all(noun)
        raise AssertionError("unreachable")

    async def _score_tokens(
        self, rows: Sequence[NDArray[np.int64]], how: Judging, fingerprint: str | None
    ) -> list[Judgement]:
        served = await self._reranker.with_fingerprint(fingerprint)
        how = how.completed(served.info)
        check_ids(rows, served.info, noun="pair")
        async with self._reranker.followed(served):
            outcome = await self._judge([TokenRow(ids) for ids in rows], how, served)
        return [pair.judgement for pair in outcome.all("pair")]

    async def _judge(
        self, texts: Sequence[Prompt | TokenRow], how: Judging, served: ServedModel[RerankerInfo]
    ) -> Outcome[JudgedPair]:
        """Judge pairs: the model answers with score and logit."""
        judged: list[JudgedPair] = []
        async with aclosing(served.answers(texts, truncate=how.truncate, priority=how.priority)) as groups:
            async for answers in groups:
                judged += [
                    JudgedPair(
                        Judgement(score=float(outputs[SCORE_NAME][0]), logit=float(outputs[LOGIT_NAME][0])),
                        is_query_cut=row.is_query_cut,
                        is_document_cut=row.is_cut,
                    )
                    for row, outputs in answers.results
                ]
                if answers.failure is not None:
                    return Outcome(judged, answers.failure)
        return Outcome(judged)

    async def _token_rows_of_pairs(
        self,
        pairs: Sequence[tuple[str, str]],
        how: Judging,
        fingerprint: str | None,
        *,
        max_total_tokens: int | None = None,
    ) -> list[TokenRow]:
        served = await self._reranker.with_fingerprint(fingerprint)
        prompts = how.completed(served.info).prompts(pairs)
        await served.check(prompts, truncate=how.truncate, noun="pair", max_total_tokens=max_total_tokens)
        rows = await served.tokenize(prompts, truncate=how.truncate, max_total_tokens=max_total_tokens)
        return rows.all("pair")


def _table(rows: Sequence[Vectors], how: Encoding) -> Vectors:
    return np.stack(rows) if rows else np.empty((0, how.dimensions or 0), np.float32)
