"""What all APIs share: texts become vectors, and pairs become scores, with their tokens counted.

A request's items are accepted into the pending work, tokenized, counted, accepted again by their tokens, and sent in
slices. This module knows nothing about HTTP or about any API's fields.
"""

import asyncio
import functools
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

import numpy as np
from qwen3_client import AsyncClient, ModelChangedError, ModelInfo, RerankerInfo

from .admission import Admission, count_tokens
from .errors import ApiError
from .exchange import Exchange
from .inputs import Truncate, check_dimensions, check_ids, empty_text, token_rows, truncation
from .known_model import KnownModel
from .offset_tokenizers import OffsetTokenizers
from .pending import PendingWork
from .results import EMPTY_DOCUMENT, EmbeddingResult, RerankingResult
from .settings import Settings
from .slices import SLICE, in_slices

Kind = Literal["query", "document"]
Priority = Literal["interactive", "bulk"]

_TRIES = 4  # of a request, while the model changes

_Result = TypeVar("_Result")
_Arguments = ParamSpec("_Arguments")


def _following_the_model(
    work: Callable[Concatenate["Engine", _Arguments], Coroutine[Any, Any, _Result]],
) -> Callable[Concatenate["Engine", _Arguments], Coroutine[Any, Any, _Result]]:
    """Do all the work of a request again if the model is replaced meanwhile."""

    @functools.wraps(work)
    async def followed(engine: "Engine", /, *args: _Arguments.args, **options: _Arguments.kwargs) -> _Result:
        for tries in range(1, _TRIES + 1):
            try:
                return await work(engine, *args, **options)
            except ModelChangedError:
                engine.forget_models()
                if tries == _TRIES:
                    raise
                await asyncio.sleep(0)
        raise AssertionError("unreachable")

    return followed


class Engine:
    """Embeds and reranks for all APIs. For one event loop.

    Args:
        client: The connection to Triton.
        pending: The work that is accepted and not yet answered.
        settings: The gateway's settings.
    """

    def __init__(self, client: AsyncClient, *, pending: PendingWork, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._admission = Admission(pending, max_items=settings.max_items, max_tokens=settings.max_request_tokens)
        # Kept here, so that not every request need ask the client.
        self._embedding_model = KnownModel(client.info, noun="embedding model", aliases=settings.model_aliases)
        self._reranker = KnownModel(client.reranker_info, noun="reranker", aliases=settings.reranker_aliases)
        self._offsets = OffsetTokenizers(source=settings.tokenizer, special_tokens=settings.special_tokens)

    async def embedding_model(self, name: str | None = None) -> ModelInfo:
        """Return what the embedding model says about itself. See `KnownModel.info`."""
        return await self._embedding_model.info(name)

    async def reranker(self, name: str | None = None) -> RerankerInfo:
        """Return what the reranker says about itself. See `KnownModel.info`."""
        return await self._reranker.info(name)

    async def is_ready(self) -> bool:
        """Return whether Triton reports that it is ready for requests."""
        return await self._client.is_ready()

    @_following_the_model
    async def check_models(self, *, max_age_s: float) -> None:
        """Send one token to each model whose last correct answer is too old.

        Args:
            max_age_s: Seconds for which a correct answer counts.

        Raises:
            ApiError: Triton serves neither an embedding model nor a reranker.
            Qwen3ClientError: A model did not answer, or its answer does not match its configuration.
        """
        embedding = await self._embedding_model.info_if_served()
        reranker = await self._reranker.info_if_served()
        if embedding is None and reranker is None:
            raise ApiError("no_model", "Triton serves no model that this gateway can use")
        if embedding is not None and not self._embedding_model.has_answered(embedding, max_age_s=max_age_s):
            await self._client.encode_tokens([[embedding.eos_token_id]], priority="interactive")
            self._embedding_model.record_answer(embedding)
        if reranker is not None and not self._reranker.has_answered(reranker, max_age_s=max_age_s):
            await self._client.score_tokens([[1]])
            self._reranker.record_answer(reranker)

    def forget_answers(self) -> None:
        """Forget when models last answered, so that `check_models` asks each of them."""
        self._embedding_model.forget_answer()
        self._reranker.forget_answer()

    def forget_models(self) -> None:
        """Forget what the models say about themselves, because one of them was replaced."""
        self._embedding_model.forget()
        self._reranker.forget()

    @_following_the_model
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
        self._admission.check_items(len(inputs))
        info = await self.embedding_model(model)
        check_dimensions(dimensions, info=info)
        with self._admission.accepted(len(inputs), exchange=exchange) as reservation:
            if isinstance(inputs[0], str):
                async with self._admission.tokenizing(
                    noun="text", max_tokens=min(max_tokens or info.max_tokens, info.max_tokens)
                ):
                    cuttable = await self._client.token_rows(
                        list(inputs),  # type: ignore[arg-type] # one is a text, so all are
                        kind=kind,
                        instruction=instruction,
                        truncate=truncate,
                        max_tokens=max_tokens,
                        max_total_tokens=self._admission.max_tokens,
                        fingerprint=info.fingerprint,
                    )
            else:
                cuttable = token_rows(
                    inputs,  # type: ignore[arg-type] # the first is no text, so none is
                    info=info,
                    truncate=truncate,
                    max_tokens=max_tokens,
                    append_end_token=self._settings.append_end_token,
                )
            exchange.truncated = truncation(cuttable, noun="texts")
            self._admission.accept_tokens(count_tokens(cuttable), reservation=reservation, exchange=exchange)
            # A few texts are usually waited for by a user, even if the request does not call them queries.
            priority: Priority = "interactive" if kind == "query" or len(cuttable) <= SLICE else "bulk"
            slices = await in_slices(
                [row.ids for row in cuttable],
                lambda some: self._client.encode_tokens(
                    some, dimensions=dimensions, priority=priority, fingerprint=info.fingerprint
                ),
            )
            reservation.record_answer()
        self._embedding_model.record_answer(info)
        exchange.fingerprint = info.fingerprint or ""
        return EmbeddingResult(info=info, vectors=np.concatenate(slices), tokens=exchange.tokens)

    @_following_the_model
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
        self._admission.check_items(len(documents))
        info = await self.reranker(model)
        with self._admission.accepted(len(documents), exchange=exchange) as reservation:
            queries = [query] * len(documents) if isinstance(query, str) else query
            if not all(queries):
                raise ApiError("empty", "the query is empty", param="query")
            judgements = [EMPTY_DOCUMENT] * len(documents)
            scored = [i for i, document in enumerate(documents) if document]
            if len(scored) < len(documents) and self._settings.empty_documents == "refuse":
                raise empty_text(next(i for i, document in enumerate(documents) if not document), noun="document")
            if not scored:
                return RerankingResult(info=info, judgements=judgements, tokens=0)
            async with self._admission.tokenizing(noun="document", max_tokens=info.max_tokens, indices=scored):
                cuttable = await self._client.token_rows_of_pairs(
                    [(queries[i], documents[i]) for i in scored],
                    instruction=instruction,
                    truncate=truncate,
                    max_total_tokens=self._admission.max_tokens,
                    fingerprint=info.fingerprint,
                )
            exchange.truncated = truncation(cuttable, noun="documents")
            self._admission.accept_tokens(count_tokens(cuttable), reservation=reservation, exchange=exchange)
            slices = await in_slices(
                [row.ids for row in cuttable],
                lambda some: self._client.score_tokens(some, fingerprint=info.fingerprint),
            )
            reservation.record_answer()
        self._reranker.record_answer(info)
        exchange.fingerprint = info.fingerprint or ""
        found = (judgement for some in slices for judgement in some)
        for i, judgement in zip(scored, found, strict=True):
            judgements[i] = judgement
        return RerankingResult(info=info, judgements=judgements, tokens=exchange.tokens)

    @_following_the_model
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
        self._admission.check_items(len(texts))
        info = await self.embedding_model()
        with self._admission.accepted(len(texts), exchange=exchange) as reservation:
            async with self._admission.tokenizing(noun="text", max_tokens=info.max_tokens):
                rows = await self._client.token_rows(
                    texts,
                    kind=kind,
                    truncate=False,
                    max_total_tokens=self._admission.max_tokens,
                    fingerprint=info.fingerprint,
                )
            self._admission.accept_tokens(count_tokens(rows), reservation=reservation, exchange=exchange)
            # A query prompt of None stands for an instruction.
            has_prompt = info.query_prompt != "" if kind == "query" else info.document_prompt != ""
            return await self._offsets.tokens(info, texts, [row.ids for row in rows], has_prompt=has_prompt)

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
        self._admission.check_items(len(rows))
        info = await self.embedding_model(model)
        for index, ids in enumerate(rows):
            check_ids(ids, info=info, index=index)
        with self._admission.accepted(len(rows), exchange=exchange) as reservation:
            self._admission.accept_tokens(sum(map(len, rows)), reservation=reservation, exchange=exchange)
            return await self._offsets.texts(info, rows, skip_special_tokens=skip_special_tokens)
