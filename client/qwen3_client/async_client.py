"""The implementation of the client, for programs with an event loop: from texts to unit vectors or rankings.

Every text takes the same steps: its prompt is made (`prompts`) and turned into token ids (`tokenizer`), the server
answers (`served_model`, `session`, `transports`), and the vector is cut (`vectors`) or the documents are put in order
(`ranking`).

The work is done on the thread of `io_thread`, so one client serves any number of event loops, and neither tokenizing
nor a slow server blocks any of them; or on a loop that the program chose. This module knows nothing about retries or
protocols.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from types import TracebackType
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .base_client import BaseClient
from .call_options import Encoding, Judging
from .contract import EMBEDDING_NAME, LOGIT_NAME, SCORE_NAME, ModelInfo, RerankerInfo
from .current_model import CurrentModel
from .cuts import CutCounter
from .errors import ContractMismatchError, InvalidInputError, ServerTimeoutError, ServerUnavailableError
from .frame import Prompt
from .inputs import as_documents, as_pairs, as_texts, as_token_ids, checked_text
from .options import ClientOptions, Kind, Priority, Truncate
from .outcome import Outcome, in_order
from .prompts import pair_prompt
from .ranking import JudgedPair, Judgement, RankedDocument, checked_top_k, ranked
from .served_model import ServedModel, check_ids
from .session import Session
from .tokenizer import TokenRow
from .transports.base import Transport
from .vectors import cut

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
        return await self._session.run(self._embedding_model.info())

    async def reranker_info(self) -> RerankerInfo:
        """See `Client.reranker_info`."""
        return await self._session.run(self._reranker.info())

    async def is_ready(self) -> bool:
        """See `Client.is_ready`."""
        return await self._session.run(self._are_ready())

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
        return await self._encode(texts, how)

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
        return await self._encode(texts, how)

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
        if isinstance(texts, str):
            raise InvalidInputError("encode_stream takes an iterable of texts, not one str: use encode_document")
        how = Encoding(kind=kind, instruction=instruction, dimensions=dimensions, truncate=truncate, priority=priority)
        served, how = await self._session.run(self._begin_stream(how))
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
            async for group in _groups(texts, size=self._session.options.concurrency):
                pending.append(asyncio.wrap_future(self._session.submit(self._embed(group, how, served))))
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
        if isinstance(texts, str):
            raise InvalidInputError("tokenize takes a sequence of texts, not one str: put it into a list")
        how = Encoding(kind=kind, instruction=instruction, truncate=truncate)
        return (await self._session.run(self._tokenize_all(as_texts(texts), how, fingerprint))).all("text")

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
        if isinstance(texts, str):
            raise InvalidInputError("token_rows takes a sequence of texts, not one str: put it into a list")
        how = Encoding(kind=kind, instruction=instruction, truncate=truncate)
        rows = self._token_rows(
            as_texts(texts), how, fingerprint, max_tokens=max_tokens, max_total_tokens=max_total_tokens
        )
        return (await self._session.run(rows)).all("text")

    async def encode_tokens(
        self,
        input_ids: Sequence[ArrayLike],
        *,
        dimensions: int | None = None,
        priority: Priority | None = None,
        fingerprint: str | None = None,
    ) -> Vectors:
        """See `Client.encode_tokens`."""
        rows = as_token_ids(input_ids, noun="text")
        how = Encoding(kind="document", dimensions=dimensions, priority=priority)
        return await self._session.run(self._embed_all_rows(rows, how, fingerprint))

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
        checked_text(query, what="the query")
        texts, most = as_documents(documents), checked_top_k(top_k)
        how = Judging(instruction=instruction, truncate=truncate, priority=priority)
        outcome = await self._session.run(self._judge_all([(query, text) for text in texts], how, noun="document"))
        return ranked(outcome.all("document"), documents=texts if return_documents else None, top_k=most)

    async def score(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        instruction: str | None = None,
        truncate: bool = True,
        priority: Priority | None = None,
    ) -> NDArray[np.float32]:
        """See `Client.score`."""
        batch = as_pairs(pairs)
        how = Judging(instruction=instruction, truncate=truncate, priority=priority)
        outcome = await self._session.run(self._judge_all(batch, how, noun="pair"))
        return np.array([pair.judgement.score for pair in outcome.all("pair")], dtype=np.float32)

    async def tokenize_pairs(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        instruction: str | None = None,
        truncate: bool = True,
        fingerprint: str | None = None,
    ) -> list[NDArray[np.int64]]:
        """See `Client.tokenize_pairs`."""
        how = Judging(instruction=instruction, truncate=truncate)
        return (await self._session.run(self._tokenize_all_pairs(as_pairs(pairs), how, fingerprint))).all("pair")

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
        rows = self._token_rows_of_pairs(as_pairs(pairs), how, fingerprint, max_total_tokens=max_total_tokens)
        return (await self._session.run(rows)).all("pair")

    async def score_tokens(
        self, input_ids: Sequence[ArrayLike], *, priority: Priority | None = None, fingerprint: str | None = None
    ) -> list[Judgement]:
        """See `Client.score_tokens`."""
        rows = as_token_ids(input_ids, noun="pair")
        return await self._session.run(self._judge_all_rows(rows, Judging(priority=priority), fingerprint))

    async def _encode(self, texts: str | Sequence[str], how: Encoding) -> Vectors:
        # All texts are checked before the first is sent: no work is done for a call that must fail.
        batch = as_texts(texts)
        table = await self._session.run(self._embed_all(batch, how))
        return table[0] if isinstance(texts, str) else table

    # What follows runs on the session's loop.

    async def _embed_all(self, texts: Sequence[str], how: Encoding) -> Vectors:
        for attempt in self._embedding_model.attempts():
            async with attempt as served:
                complete = how.completed(served.info)
                prompts = [Prompt(text, complete.frame) for text in texts]
                await served.check(prompts, truncate=how.truncate, noun="text")
                outcome = await in_order(self._embed(group, complete, served) for group in self._sliced(texts))
                return _table(outcome.all("text"), complete)
        raise AssertionError("unreachable")

    async def _begin_stream(self, how: Encoding) -> tuple[ServedModel[ModelInfo], Encoding]:
        # Its vectors are used before its end, so it can't begin again: better to ask first.
        served = await self._embedding_model.get(max_age_s=0)
        return served, how.completed(served.info)

    async def _embed(self, texts: Sequence[str], how: Encoding, served: ServedModel[ModelInfo]) -> Outcome[Vectors]:
        """Embed a few texts: make prompts and token ids, ask the server, cut the vectors to float32 `[dimensions]`."""
        rows = await self._tokenize(texts, how, served)
        vectors = await self._embed_rows(rows.results, how, served)
        return Outcome(vectors.results, vectors.failure or rows.failure)

    async def _tokenize(
        self, texts: Sequence[str], how: Encoding, served: ServedModel[ModelInfo]
    ) -> Outcome[NDArray[np.int64]]:
        prompts = [Prompt(text, how.frame) for text in texts]
        rows = await served.tokenize(prompts, truncate=how.truncate)
        return Outcome([row.ids for row in rows.results], rows.failure)

    async def _tokenize_all(
        self, texts: Sequence[str], how: Encoding, fingerprint: str | None
    ) -> Outcome[NDArray[np.int64]]:
        rows = await self._token_rows(texts, how, fingerprint)
        return Outcome([row.ids for row in rows.results], rows.failure)

    async def _token_rows(
        self,
        texts: Sequence[str],
        how: Encoding,
        fingerprint: str | None,
        *,
        max_tokens: int | None = None,
        max_total_tokens: int | None = None,
    ) -> Outcome[TokenRow]:
        served = await self._embedding_model.with_fingerprint(fingerprint)
        how = how.completed(served.info)
        prompts = [Prompt(text, how.frame) for text in texts]
        await served.check(prompts, truncate=how.truncate, noun="text", max_total_tokens=max_total_tokens)
        return await served.tokenize(
            prompts, truncate=how.truncate, max_tokens=max_tokens, max_total_tokens=max_total_tokens
        )

    async def _embed_all_rows(
        self, rows: Sequence[NDArray[np.int64]], how: Encoding, fingerprint: str | None
    ) -> Vectors:
        served = await self._embedding_model.with_fingerprint(fingerprint)
        how = how.completed(served.info)
        check_ids(rows, served.info, noun="text")
        groups = self._sliced(rows)
        async with self._embedding_model.followed(served):
            outcome = await in_order(self._embed_rows(group, how, served) for group in groups)
        return _table(outcome.all("text"), how)

    async def _embed_rows(
        self, rows: Sequence[NDArray[np.int64]], how: Encoding, served: ServedModel[ModelInfo]
    ) -> Outcome[Vectors]:
        answers = await served.infer(rows, priority=how.priority)
        vectors = (
            cut(outputs[EMBEDDING_NAME], dimensions=how.dimensions, is_normalized=how.is_normalized)
            for outputs in answers.results
        )
        return Outcome.collect(vectors, failure=answers.failure)

    async def _judge_all(self, pairs: Sequence[tuple[str, str]], how: Judging, *, noun: str) -> Outcome[JudgedPair]:
        for attempt in self._reranker.attempts():
            async with attempt as served:
                complete = how.completed(served.info)
                await served.check(_pair_prompts(pairs, complete), truncate=how.truncate, noun=noun)
                return await in_order(self._judge(group, complete, served) for group in self._sliced(pairs))
        raise AssertionError("unreachable")

    async def _judge(
        self, pairs: Sequence[tuple[str, str]], how: Judging, served: ServedModel[RerankerInfo]
    ) -> Outcome[JudgedPair]:
        """Judge a few pairs: make prompts and token ids, and ask the server."""
        rows = await self._tokenize_pairs(pairs, how, served)
        judgements = await self._judge_rows([row.ids for row in rows.results], how, served)
        judged = [
            JudgedPair(judgement, is_query_cut=row.is_query_cut, is_document_cut=row.is_cut)
            for judgement, row in zip(judgements.results, rows.results, strict=False)
        ]
        return Outcome(judged, judgements.failure or rows.failure)

    async def _tokenize_pairs(
        self, pairs: Sequence[tuple[str, str]], how: Judging, served: ServedModel[RerankerInfo]
    ) -> Outcome[TokenRow]:
        return await served.tokenize(_pair_prompts(pairs, how), truncate=how.truncate)

    async def _tokenize_all_pairs(
        self, pairs: Sequence[tuple[str, str]], how: Judging, fingerprint: str | None
    ) -> Outcome[NDArray[np.int64]]:
        rows = await self._token_rows_of_pairs(pairs, how, fingerprint)
        return Outcome([row.ids for row in rows.results], rows.failure)

    async def _token_rows_of_pairs(
        self,
        pairs: Sequence[tuple[str, str]],
        how: Judging,
        fingerprint: str | None,
        *,
        max_total_tokens: int | None = None,
    ) -> Outcome[TokenRow]:
        served = await self._reranker.with_fingerprint(fingerprint)
        how = how.completed(served.info)
        prompts = _pair_prompts(pairs, how)
        await served.check(prompts, truncate=how.truncate, noun="pair", max_total_tokens=max_total_tokens)
        return await served.tokenize(prompts, truncate=how.truncate, max_total_tokens=max_total_tokens)

    async def _judge_all_rows(
        self, rows: Sequence[NDArray[np.int64]], how: Judging, fingerprint: str | None
    ) -> list[Judgement]:
        served = await self._reranker.with_fingerprint(fingerprint)
        how = how.completed(served.info)
        check_ids(rows, served.info, noun="pair")
        groups = self._sliced(rows)
        async with self._reranker.followed(served):
            return (await in_order(self._judge_rows(group, how, served) for group in groups)).all("pair")

    async def _judge_rows(
        self, rows: Sequence[NDArray[np.int64]], how: Judging, served: ServedModel[RerankerInfo]
    ) -> Outcome[Judgement]:
        answers = await served.infer(rows, priority=how.priority)
        judgements = [
            Judgement(score=float(outputs[SCORE_NAME][0]), logit=float(outputs[LOGIT_NAME][0]))
            for outputs in answers.results
        ]
        return Outcome(judgements, answers.failure)

    async def _are_ready(self) -> bool:
        models = (self._embedding_model, self._reranker)
        known = [model for model in models if model.name is not None]
        try:
            if known:
                return all([await model.is_ready() for model in known])
            return any([await model.is_ready() for model in models])
        except (ContractMismatchError, ServerTimeoutError, ServerUnavailableError):
            return False

    def _sliced(self, items: Sequence[_T]) -> Iterator[Sequence[_T]]:
        size = self._session.options.concurrency
        return (items[start : start + size] for start in range(0, len(items), size))


def _pair_prompts(pairs: Sequence[tuple[str, str]], how: Judging) -> list[Prompt]:
    return [pair_prompt(pair, template=how.template, instruction=how.instruction or "") for pair in pairs]


def _table(rows: Sequence[Vectors], how: Encoding) -> Vectors:
    return np.stack(rows) if rows else np.empty((0, how.dimensions or 0), np.float32)


async def _groups(texts: Iterable[str] | AsyncIterable[str], *, size: int) -> AsyncIterator[list[str]]:
    """Yield checked texts in groups of `size`. The last group may be smaller."""
    group: list[str] = []
    index = 0
    async for text in _each(texts):
        group.append(checked_text(text, index=index))
        index += 1
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


async def _each(texts: Iterable[str] | AsyncIterable[str]) -> AsyncIterator[str]:
    if isinstance(texts, AsyncIterable):
        async for text in texts:
            yield text
    else:
        for text in texts:
            yield text
