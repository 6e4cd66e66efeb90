"""What all APIs share: texts become vectors, and pairs become scores, with their tokens counted.

A request's items are accepted into the pending work, tokenized, counted, accepted again by their tokens, and sent. They
go to the client in slices, a few at a time, so that a request with thousands of texts leaves room in the client's
window for a request with one. This module knows nothing about HTTP or about any API's fields.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence, Sized
from dataclasses import dataclass
from time import monotonic
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from qwen3_client import (
    AsyncClient,
    ContractMismatchError,
    EmptyTextError,
    InvalidInputError,
    Judgement,
    ModelChangedError,
    ModelInfo,
    RerankerInfo,
    TextTooLongError,
    TokenRow,
    TooManyTokensError,
)

from .errors import ApiError
from .exchange import Exchange
from .inputs import (
    TokenIds,
    Truncate,
    check_dimensions,
    check_ids,
    empty_text,
    text_too_long,
    token_ids,
    truncation,
    unknown_model,
)
from .names import is_name_of, public_name
from .pending import PendingWork
from .settings import Settings
from .token_offsets import OffsetTokenizer

Kind = Literal["query", "document"]
Priority = Literal["interactive", "bulk"]

_CONCURRENT_TOKENIZATIONS = 2  # requests
_SLICE = 16  # items that are handed to the client in one call
_CONCURRENT_SLICES = 8  # so at most 128 items of one request wait in the client's window, enough to keep it full

# An empty document answers no query. Its logit is below any that the model gives, and its score is what that rounds to.
_EMPTY = Judgement(score=0.0, logit=-100.0)

_INFO_MAX_AGE_S = 1.0  # of what the client said about a model; the client asks Triton every few seconds
_TRIES = 4  # of a request, while the model changes

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingResult:
    """The vectors of a request's texts.

    Attributes:
        info: The model that computed them.
        vectors: FP32 `[n, dimensions]`, in the order of the inputs.
        tokens: How many tokens the model read.
    """

    info: ModelInfo
    vectors: NDArray[np.float32]
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankingResult:
    """The scores of a request's pairs.

    Attributes:
        info: The model that computed them.
        judgements: Score and logit of each pair, in the order of the documents.
        tokens: How many tokens the model read.
    """

    info: RerankerInfo
    judgements: list[Judgement]
    tokens: int

    def order(self) -> list[int]:
        """Return the indices of the documents, the best first; equal ones keep their order."""
        judgements = self.judgements
        return sorted(range(len(judgements)), key=lambda i: (-judgements[i].score, -judgements[i].logit, i))


class Engine:
    """Embeds and reranks for all APIs. For one event loop.

    Args:
        client: The connection to Triton.
        pending: The work that is accepted and not yet answered.
        settings: The gateway's settings.
    """

    def __init__(self, client: AsyncClient, *, pending: PendingWork, settings: Settings) -> None:
        self._client = client
        self._pending = pending
        self._settings = settings
        # Kept here, so that not every request need ask the client's thread; with the time until which they count.
        self._model_info: tuple[ModelInfo, float] | None = None
        self._reranker_info: tuple[RerankerInfo, float] | None = None
        self._offset_tokenizer: tuple[ModelInfo, OffsetTokenizer] | None = None
        self._answered_at: dict[str, float] = {}  # when each model last gave a correct answer, by its name
        # Token ids take fifty times the memory of their text, and a text without whitespace is tokenized as a whole.
        self._tokenizing = asyncio.Semaphore(_CONCURRENT_TOKENIZATIONS)

    async def embedding_model(self, name: str | None = None) -> ModelInfo:
        """Return what the embedding model says about itself.

        Args:
            name: The model's name in the request; None or "" where the request has none.

        Raises:
            ApiError: The name means another model, or Triton serves none that can be used.
            Qwen3ClientError: Triton does not answer.
        """
        if self._model_info is None or monotonic() > self._model_info[1]:
            found = await _served(self._client.info(), noun="embedding model")
            self._model_info = found, monotonic() + _INFO_MAX_AGE_S
        info, aliases = self._model_info[0], self._settings.model_aliases
        if name and not is_name_of(name, info, aliases=aliases):
            raise unknown_model(name, known=[public_name(info), *aliases])
        return info

    async def reranker(self, name: str | None = None) -> RerankerInfo:
        """Return what the reranker says about itself. See `embedding_model`."""
        if self._reranker_info is None or monotonic() > self._reranker_info[1]:
            found = await _served(self._client.reranker_info(), noun="reranker")
            self._reranker_info = found, monotonic() + _INFO_MAX_AGE_S
        info, aliases = self._reranker_info[0], self._settings.reranker_aliases
        if name and not is_name_of(name, info, aliases=aliases):
            raise unknown_model(name, known=[public_name(info), *aliases])
        return info

    async def is_ready(self) -> bool:
        """Return whether Triton reports that it is ready for requests."""
        return await self._client.is_ready()

    async def check_models(self, *, max_age_s: float) -> None:
        """Send one token to each model whose last correct answer is too old.

        Args:
            max_age_s: Seconds for which a correct answer counts.

        Raises:
            ApiError: Triton serves neither an embedding model nor a reranker.
            Qwen3ClientError: A model did not answer, or its answer does not match its configuration.
        """
        await self._followed(lambda: self._check_models(max_age_s=max_age_s))

    async def _check_models(self, *, max_age_s: float) -> None:
        embedding = await _if_served(self.embedding_model())
        reranker = await _if_served(self.reranker())
        if embedding is None and reranker is None:
            raise ApiError("no_model", "Triton serves no model that this gateway can use")
        if embedding is not None and self._is_due(embedding, max_age_s=max_age_s):
            await self._client.encode_tokens([[embedding.eos_token_id]], priority="interactive")
            self._record_answer(embedding)
        if reranker is not None and self._is_due(reranker, max_age_s=max_age_s):
            await self._client.score_tokens([[1]])
            self._record_answer(reranker)

    def forget_answers(self) -> None:
        """Forget when models last answered, so that `check_models` asks each of them."""
        self._answered_at.clear()

    async def _followed(self, work: Callable[[], Awaitable[_Result]]) -> _Result:
        """Do the work of one request, and all of it again if the model is replaced meanwhile."""
        for tries in range(_TRIES):
            try:
                return await work()
            except ModelChangedError:
                self._model_info = self._reranker_info = None
                if tries == _TRIES - 1:
                    raise
                await asyncio.sleep(0)
        raise AssertionError("unreachable")

    async def embed(
        self,
        inputs: Sequence[str] | Sequence[Sequence[int]],
        *,
        exchange: Exchange,
        model: str | None = None,
        kind: Kind = "document",
        instruction: str | None = None,
        dimensions: int | None = None,
        truncate: Truncate = False,
        max_tokens: int | None = None,
    ) -> EmbeddingResult:
        """Embed texts, or texts that are token ids already.

        Args:
            inputs: Texts, or for each text its token ids; not both.
            exchange: The record of the request.
            model: The model's name in the request.
            kind: What the texts are; token ids are taken as they are.
            instruction: The task of queries; None for the model's default.
            dimensions: Length of the vectors; None for the model's.
            truncate: Which end a text that is too long loses; False to refuse it.
            max_tokens: Most tokens of one text, all that the model reads of it counted; None for the model's limit.

        Raises:
            ApiError: An input cannot be used, or there are too many.
            Qwen3ClientError: Triton failed.
        """
        self._check_items(len(inputs))
        return await self._followed(
            lambda: self._embed(
                inputs,
                exchange=exchange,
                model=model,
                kind=kind,
                instruction=instruction,
                dimensions=dimensions,
                truncate=truncate,
                max_tokens=max_tokens,
            )
        )

    async def _embed(
        self,
        inputs: Sequence[str] | Sequence[Sequence[int]],
        *,
        exchange: Exchange,
        model: str | None,
        kind: Kind,
        instruction: str | None,
        dimensions: int | None,
        truncate: Truncate,
        max_tokens: int | None,
    ) -> EmbeddingResult:
        info = await self.embedding_model(model)
        check_dimensions(dimensions, info=info)
        with self._pending.reserve(len(inputs)) as reservation:
            exchange.items = len(inputs)
            if isinstance(inputs[0], str):
                texts: list[str] = list(inputs)  # type: ignore[arg-type]
                cuttable = await self._tokenized(
                    lambda: self._client.token_rows(
                        texts,
                        kind=kind,
                        instruction=instruction,
                        truncate=truncate,
                        max_tokens=max_tokens,
                        max_total_tokens=self._settings.max_request_tokens,
                        fingerprint=info.fingerprint,
                    ),
                    max_tokens=min(max_tokens or info.max_tokens, info.max_tokens),
                    noun="text",
                )
            else:
                append = self._settings.append_end_token
                cuttable = [
                    token_ids(
                        ids,  # type: ignore[arg-type]
                        info=info,
                        truncate=truncate,
                        index=i,
                        max_tokens=max_tokens,
                        append_end_token=append,
                    )
                    for i, ids in enumerate(inputs)
                ]
            rows = [row.ids for row in cuttable]
            exchange.truncated = truncation(cuttable, noun="texts")
            reservation.add_tokens(self._count_tokens(rows, exchange=exchange))
            # A few texts are usually waited for by a user, even if the request does not call them queries.
            priority: Priority = "interactive" if kind == "query" or len(rows) <= _SLICE else "bulk"
            slices = await _in_slices(
                rows,
                lambda some: self._client.encode_tokens(
                    some, dimensions=dimensions, priority=priority, fingerprint=info.fingerprint
                ),
            )
            reservation.record_answer()
        self._record_answer(info)
        exchange.fingerprint = info.fingerprint or ""
        return EmbeddingResult(info=info, vectors=np.concatenate(slices), tokens=exchange.tokens)

    async def rerank(
        self,
        query: str | Sequence[str],
        documents: Sequence[str],
        *,
        exchange: Exchange,
        model: str | None = None,
        instruction: str | None = None,
        truncate: bool = True,
    ) -> RerankingResult:
        """Score how well each document answers a query.

        Args:
            query: The query, or one for each document.
            documents: The documents.
            exchange: The record of the request.
            model: The model's name in the request.
            instruction: The task; None for the model's default.
            truncate: Whether a document that is too long loses its end; False to refuse it.

        Raises:
            ApiError: An input cannot be used, or there are too many.
            Qwen3ClientError: Triton failed.
        """
        self._check_items(len(documents))
        return await self._followed(
            lambda: self._rerank(
                query, documents, exchange=exchange, model=model, instruction=instruction, truncate=truncate
            )
        )

    async def _rerank(
        self,
        query: str | Sequence[str],
        documents: Sequence[str],
        *,
        exchange: Exchange,
        model: str | None,
        instruction: str | None,
        truncate: bool,
    ) -> RerankingResult:
        info = await self.reranker(model)
        with self._pending.reserve(len(documents)) as reservation:
            exchange.items = len(documents)
            queries = [query] * len(documents) if isinstance(query, str) else query
            if not all(queries):
                raise ApiError("empty", "the query is empty", param="query")
            judgements = [_EMPTY] * len(documents)
            scored = [i for i, document in enumerate(documents) if document]
            if len(scored) < len(documents) and self._settings.empty_documents == "refuse":
                raise empty_text(next(i for i, document in enumerate(documents) if not document), noun="document")
            if not scored:
                return RerankingResult(info=info, judgements=judgements, tokens=0)
            pairs = [(queries[i], documents[i]) for i in scored]
            cuttable = await self._tokenized(
                lambda: self._client.token_rows_of_pairs(
                    pairs,
                    instruction=instruction,
                    truncate=truncate,
                    max_total_tokens=self._settings.max_request_tokens,
                    fingerprint=info.fingerprint,
                ),
                max_tokens=info.max_tokens,
                noun="document",
                indices=scored,
            )
            rows = [row.ids for row in cuttable]
            exchange.truncated = truncation(cuttable, noun="documents")
            reservation.add_tokens(self._count_tokens(rows, exchange=exchange))
            slices = await _in_slices(rows, lambda some: self._client.score_tokens(some, fingerprint=info.fingerprint))
            reservation.record_answer()
        self._record_answer(info)
        exchange.fingerprint = info.fingerprint or ""
        found = (judgement for some in slices for judgement in some)
        for i, judgement in zip(scored, found, strict=True):
            judgements[i] = judgement
        return RerankingResult(info=info, judgements=judgements, tokens=exchange.tokens)

    async def tokenize(self, texts: Sequence[str], *, exchange: Exchange, kind: Kind) -> list[list[dict[str, Any]]]:
        """Return each text's tokens in the form of TEI's API, the end-of-text token last.

        Args:
            texts: The texts.
            exchange: The record of the request.
            kind: What they are; the model's prompt for such texts goes before each.

        Raises:
            ApiError: A text cannot be used, or there are too many.
            Qwen3ClientError: Triton or the tokenizer is not available.
        """
        self._check_items(len(texts))
        return await self._followed(lambda: self._tokenize(texts, exchange=exchange, kind=kind))

    async def _tokenize(self, texts: Sequence[str], *, exchange: Exchange, kind: Kind) -> list[list[dict[str, Any]]]:
        info = await self.embedding_model()
        with self._pending.reserve(len(texts)) as reservation:
            exchange.items = len(texts)
            cuttable = await self._tokenized(
                lambda: self._client.token_rows(
                    texts,
                    kind=kind,
                    truncate=False,
                    max_total_tokens=self._settings.max_request_tokens,
                    fingerprint=info.fingerprint,
                ),
                max_tokens=info.max_tokens,
                noun="text",
            )
            rows = [row.ids for row in cuttable]
            reservation.add_tokens(self._count_tokens(rows, exchange=exchange))
            tokenizer = await self._offsets(info)
            # A query prompt of None stands for an instruction.
            has_prompt = info.query_prompt != "" if kind == "query" else info.document_prompt != ""
            return await _in_thread(lambda: tokenizer.tokens_of_all(texts, rows, has_prompt=has_prompt))

    async def decode(
        self,
        rows: Sequence[Sequence[int]],
        *,
        exchange: Exchange,
        model: str | None = None,
        skip_special_tokens: bool,
    ) -> list[str]:
        """Return the text of each list of token ids.

        Args:
            rows: For each text its token ids.
            exchange: The record of the request.
            model: The model's name in the request.
            skip_special_tokens: Whether to leave out special tokens, such as the end-of-text token.

        Raises:
            ApiError: An id is outside the vocabulary, or there are too many.
            Qwen3ClientError: Triton or the tokenizer is not available.
        """
        self._check_items(len(rows))
        info = await self.embedding_model(model)
        for index, ids in enumerate(rows):
            check_ids(ids, info=info, index=index)
        with self._pending.reserve(len(rows)) as reservation:
            exchange.items = len(rows)
            reservation.add_tokens(self._count_tokens(rows, exchange=exchange))
            tokenizer = await self._offsets(info)
            return await _in_thread(lambda: tokenizer.texts_of_all(rows, skip_special_tokens=skip_special_tokens))

    async def _offsets(self, info: ModelInfo) -> OffsetTokenizer:
        if self._offset_tokenizer is None or self._offset_tokenizer[0].tokenizer_sha256 != info.tokenizer_sha256:
            tokenizer = await asyncio.to_thread(
                OffsetTokenizer,
                info,
                source=self._settings.tokenizer,
                special_tokens=self._settings.special_tokens,
            )
            self._offset_tokenizer = info, tokenizer
        return self._offset_tokenizer[1]

    def _record_answer(self, info: ModelInfo | RerankerInfo) -> None:
        self._answered_at[info.name] = monotonic()

    def _is_due(self, info: ModelInfo | RerankerInfo, *, max_age_s: float) -> bool:
        return monotonic() - self._answered_at.get(info.name, float("-inf")) > max_age_s

    def _check_items(self, items: int) -> None:
        if not items:
            raise ApiError("empty", "the request has no text: send at least one")
        if items > self._settings.max_items:
            raise ApiError(
                "too_many", f"{items} texts are more than the {self._settings.max_items} that one request may have"
            )

    def _count_tokens(self, rows: Sequence[Sized], *, exchange: Exchange) -> int:
        exchange.tokens = sum(len(row) for row in rows)
        if exchange.tokens > self._settings.max_request_tokens:
            raise self._too_many_tokens()
        return exchange.tokens

    def _too_many_tokens(self) -> ApiError:
        return ApiError(
            "too_many",
            f"the texts have more than the {self._settings.max_request_tokens} tokens that one request may have; send "
            "fewer texts at once, or a shorter query",
        )

    async def _tokenized(
        self,
        tokenize: Callable[[], Awaitable[list[TokenRow]]],
        *,
        max_tokens: int,
        noun: str,
        indices: Sequence[int] | None = None,
    ) -> list[TokenRow]:
        """Tokenize when it is this request's turn; errors call a text what the request calls it.

        A request that is cancelled keeps its turn until its tokenizing has ended. `indices` are those of the texts in
        the request, if not all of them are tokenized.
        """
        try:
            async with self._tokenizing:
                return await tokenize()
        except EmptyTextError as error:
            raise empty_text(_index_in_request(error.index, indices), noun=noun) from error
        except TextTooLongError as error:
            raise text_too_long(_index_in_request(error.index, indices), noun=noun, max_tokens=max_tokens) from error
        except TooManyTokensError as error:
            raise self._too_many_tokens() from error
        except InvalidInputError as error:
            if error.index is None:
                raise
            raise ApiError("invalid", f"{noun} {_index_in_request(error.index, indices)}: {error.args[0]}") from error


def _index_in_request(index: int | None, indices: Sequence[int] | None) -> int | None:
    return index if index is None or indices is None else indices[index]


async def _served(question: Awaitable[_Result], *, noun: str) -> _Result:
    """Return what a model says about itself.

    Raises:
        ApiError: Triton serves no such model.
    """
    try:
        return await question
    except ContractMismatchError as error:
        raise ApiError("no_model", f"there is no {noun} here: Triton serves none that this gateway can use") from error


async def _if_served(question: Awaitable[_Result]) -> _Result | None:
    """Return what a model says about itself, or None if Triton serves none of its kind."""
    try:
        return await question
    except ApiError:
        return None


async def _in_thread(work: Callable[[], _Result]) -> _Result:
    """Do work on another thread. If this is cancelled, it ends when the work does, not before."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def _in_slices(
    rows: Sequence[TokenIds], send: Callable[[Sequence[TokenIds]], Awaitable[_Result]]
) -> list[_Result]:
    """Send rows slice by slice, several slices at once, and return the answers in their order.

    The first error cancels the slices that are not answered yet.
    """
    if len(rows) <= _SLICE:
        return [await send(rows)]
    turns = asyncio.Semaphore(_CONCURRENT_SLICES)

    async def send_in_turn(start: int) -> _Result:
        async with turns:
            return await send(rows[start : start + _SLICE])

    tasks = [asyncio.ensure_future(send_in_turn(start)) for start in range(0, len(rows), _SLICE)]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
