"""What all APIs share: texts to vectors, and pairs to judgements, with the tokens counted.

A request's items are admitted, tokenized, counted, admitted again by their tokens, and sent. They go to the client in
slices, a few at a time, so that a request with thousands of texts leaves places in between for a request with one. This
module knows nothing about HTTP or about any API's fields.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from qwen3_client import (
    AsyncClient,
    ContractMismatchError,
    InvalidInputError,
    Judgement,
    ModelInfo,
    Qwen3ClientError,
    RefusedError,
    RerankerInfo,
)

from .admission import Admission
from .errors import Failure
from .exchange import Exchange
from .inputs import TokenIds, Truncate, check_dimensions, checked_texts, no_model, row_of, too_long
from .names import means, public_name
from .settings import Settings
from .spelling import Speller

__all__ = ["Embedded", "Engine", "Judged", "Kind"]

Kind = Literal["query", "document"]
Priority = Literal["interactive", "bulk"]

_TOKENIZE_AT_ONCE = 2  # requests
_SLICE = 16  # items that are handed to the client in one call
_SLICES_AT_ONCE = 8  # 128 items of one request wait in the client's window at most, enough to keep it full

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """What came of embedding.

    Attributes:
        info: the model that did it.
        vectors: float32 `[n, dimensions]`, in the order of the inputs.
        tokens: how many tokens the model read.
    """

    info: ModelInfo
    vectors: NDArray[np.float32]
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What came of reranking.

    Attributes:
        info: the model that did it.
        judgements: one for each pair, in their order.
        tokens: how many tokens the model read.
    """

    info: RerankerInfo
    judgements: list[Judgement]
    tokens: int

    def order(self) -> list[int]:
        """Returns the positions of the pairs, the best first; what is equal keeps its order."""
        judgements = self.judgements
        return sorted(range(len(judgements)), key=lambda i: (-judgements[i].score, -judgements[i].logit, i))


class Engine:
    """The way to the models. For one event loop.

    Args:
        client: the connection to Triton.
        admission: how much is taken on.
        settings: the gateway's.
    """

    def __init__(self, client: AsyncClient, *, admission: Admission, settings: Settings) -> None:
        self._client = client
        self._admission = admission
        self._settings = settings
        self._model_info: ModelInfo | None = None  # what the client knows, without a way to its thread and back
        self._reranker_info: RerankerInfo | None = None
        self._speller: Speller | None = None
        self._answered_at: dict[str, float] = {}  # when each model last gave a right answer
        # Ids take fifty times the memory of their text, and a text without a place to stop at is tokenized whole.
        self._tokenizing = asyncio.Semaphore(_TOKENIZE_AT_ONCE)

    async def embedding_model(self, name: str | None = None) -> ModelInfo:
        """Returns what the embedding model says about itself.

        Args:
            name: how the request calls it; None or "" where it names none.

        Raises:
            Failure: the request means another model, or Triton has none that can be used.
            Qwen3ClientError: Triton does not answer.
        """
        if self._model_info is None:
            self._model_info = await _known(self._client.info(), noun="embedding model")
        info, aliases = self._model_info, self._settings.model_aliases
        if name and not means(name, info, aliases=aliases):
            raise no_model(name, known=[public_name(info), *aliases])
        return info

    async def reranker(self, name: str | None = None) -> RerankerInfo:
        """Returns what the reranker says about itself. See `embedding_model`."""
        if self._reranker_info is None:
            self._reranker_info = await _known(self._client.reranker_info(), noun="reranker")
        info, aliases = self._reranker_info, self._settings.reranker_aliases
        if name and not means(name, info, aliases=aliases):
            raise no_model(name, known=[public_name(info), *aliases])
        return info

    async def is_ready(self) -> bool:
        """Says whether Triton would take requests."""
        return await self._client.is_ready()

    async def try_models(self, *, believed_s: float) -> None:
        """Asks each model about one token, but for those that gave a right answer lately.

        Args:
            believed_s: seconds for which an answer is believed.

        Raises:
            Failure: Triton has neither an embedding model nor a reranker.
            Qwen3ClientError: there is no answer, or it is not what the model's config says.
        """
        embedding = await _if_any(self.embedding_model())
        reranker = await _if_any(self.reranker())
        if embedding is None and reranker is None:
            raise Failure("no_model", "Triton serves no model that this gateway can use")
        if embedding is not None and self._is_due(embedding, believed_s=believed_s):
            await self._client.encode_tokens([[embedding.eos_token_id]], priority="interactive")
            self._note_answer(embedding)
        if reranker is not None and self._is_due(reranker, believed_s=believed_s):
            await self._client.score_tokens([[1]])
            self._note_answer(reranker)

    def forget_answers(self) -> None:
        """Believes no answer any longer that models gave before."""
        self._answered_at.clear()

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
    ) -> Embedded:
        """Embeds texts, or texts that are tokens already.

        Args:
            inputs: texts, or for each text its token ids; not both.
            exchange: the request that asks.
            model: how it calls the model.
            kind: what the texts are; ids are taken as they are.
            instruction: the task of queries; None for the model's default.
            dimensions: length of the vectors; None for the model's.
            truncate: which part a text that is too long loses; False to refuse it.

        Raises:
            Failure: an input cannot be used, or there is too much of it.
            Qwen3ClientError: Triton failed.
        """
        self._check_items(len(inputs))
        info = await self.embedding_model(model)
        check_dimensions(dimensions, full=info.dimensions)
        with self._admission.admit(len(inputs)) as ticket:
            exchange.items = len(inputs)
            are_ids = not isinstance(inputs[0], str)
            if are_ids:
                rows = [row_of(ids, info=info, truncate=truncate, index=i) for i, ids in enumerate(inputs)]  # type: ignore[arg-type]
            else:
                texts: list[str] = checked_texts(inputs, noun="text")
                rows = await self._tokenized(
                    lambda: self._client.tokenize(texts, kind=kind, instruction=instruction, truncate=truncate),
                    info=info,
                    truncate=truncate,
                    noun="text",
                )
            ticket.add_tokens(self._counted(rows, exchange=exchange))
            # A client that sends a few texts waits for them, whatever they are called.
            priority: Priority = "interactive" if kind == "query" or len(rows) <= _SLICE else "bulk"
            try:
                slices = await _in_slices(
                    rows,
                    lambda some: self._client.encode_tokens(some, dimensions=dimensions, priority=priority),
                )
            except InvalidInputError as error:
                if not are_ids or isinstance(error, RefusedError):
                    raise
                raise Failure("invalid", str(error), param="input") from error
            ticket.answered()
        self._note_answer(info)
        return Embedded(info=info, vectors=np.concatenate(slices), tokens=exchange.tokens)

    async def judge(
        self,
        query: str,
        documents: Sequence[str],
        *,
        exchange: Exchange,
        model: str | None = None,
        instruction: str | None = None,
        truncate: bool = True,
    ) -> Judged:
        """Judges how well each document meets a query.

        Args:
            query: what is looked for.
            documents: where it is looked for.
            exchange: the request that asks.
            model: how it calls the model.
            instruction: the task; None for the model's default.
            truncate: whether a document that is too long loses its end; False to refuse it.

        Raises:
            Failure: an input cannot be used, or there is too much of it.
            Qwen3ClientError: Triton failed.
        """
        self._check_items(len(documents))
        info = await self.reranker(model)
        with self._admission.admit(len(documents)) as ticket:
            exchange.items = len(documents)
            if not query:
                raise Failure("empty", "the query is empty", param="query")
            pairs = [(query, document) for document in checked_texts(documents, noun="document")]
            rows = await self._tokenized(
                lambda: self._client.tokenize_pairs(pairs, instruction=instruction, truncate=truncate),
                info=info,
                truncate=truncate,
                noun="document",
            )
            ticket.add_tokens(self._counted(rows, exchange=exchange))
            slices = await _in_slices(rows, self._client.score_tokens)
            ticket.answered()
        self._note_answer(info)
        judgements = [judgement for some in slices for judgement in some]
        return Judged(info=info, judgements=judgements, tokens=exchange.tokens)

    async def spell(self, texts: Sequence[str], *, exchange: Exchange, kind: Kind) -> list[list[dict[str, Any]]]:
        """Returns each text's tokens, the end-of-text token last, as TEI's API words them.

        Args:
            texts: the texts.
            exchange: the request that asks.
            kind: what they are; queries get the model's default instruction.

        Raises:
            Failure: a text cannot be used, or there is too much of it.
            Qwen3ClientError: Triton or the tokenizer is not available.
        """
        self._check_items(len(texts))
        info = await self.embedding_model()
        with self._admission.admit(len(texts)) as ticket:
            exchange.items = len(texts)
            checked: list[str] = checked_texts(texts, noun="text")
            rows = await self._tokenized(
                lambda: self._client.tokenize(checked, kind=kind, truncate=False),
                info=info,
                truncate=False,
                noun="text",
            )
            ticket.add_tokens(self._counted(rows, exchange=exchange))
            if self._speller is None:
                self._speller = await asyncio.to_thread(Speller, info, place=self._settings.tokenizer)
            return await asyncio.to_thread(self._speller.spell_all, texts, rows, is_prompted=kind == "query")

    def _note_answer(self, info: ModelInfo | RerankerInfo) -> None:
        self._answered_at[info.name] = monotonic()

    def _is_due(self, info: ModelInfo | RerankerInfo, *, believed_s: float) -> bool:
        return monotonic() - self._answered_at.get(info.name, float("-inf")) > believed_s

    def _check_items(self, items: int) -> None:
        if not items:
            raise Failure("empty", "there is nothing to work on: send at least one text")
        if items > self._settings.max_items:
            raise Failure(
                "too_many", f"{items} texts are more than the {self._settings.max_items} that one request may have"
            )

    def _counted(self, rows: Sequence[TokenIds], *, exchange: Exchange) -> int:
        exchange.tokens = sum(len(row) for row in rows)
        if exchange.tokens > self._settings.max_request_tokens:
            raise Failure(
                "too_many",
                f"{exchange.tokens} tokens are more than the {self._settings.max_request_tokens} that one request "
                "may have; send fewer texts at once",
            )
        return exchange.tokens

    async def _tokenized(
        self,
        tokenize: Callable[[], Awaitable[list[TokenIds]]],
        *,
        info: ModelInfo | RerankerInfo,
        truncate: object,
        noun: str,
    ) -> list[TokenIds]:
        try:
            async with self._tokenizing:
                return await tokenize()
        except InvalidInputError as error:
            if truncate is False and error.index is not None:
                raise too_long(error.index, noun=noun, info=info) from error
            raise


async def _known(asking: Awaitable[_Result], *, noun: str) -> _Result:
    try:
        return await asking
    except ContractMismatchError as error:
        raise Failure("no_model", f"there is no {noun} here: Triton serves none that this gateway can use") from error


async def _if_any(asking: Awaitable[_Result]) -> _Result | None:
    """Returns what a model says about itself, or None if Triton serves none of its kind."""
    try:
        return await asking
    except Failure:
        return None


async def _in_slices(
    rows: Sequence[TokenIds], ask: Callable[[Sequence[TokenIds]], Awaitable[_Result]]
) -> list[_Result]:
    """Asks about rows slice by slice, several slices at once, and returns the answers in their order.

    The first failure cancels what is still on its way.
    """
    if len(rows) <= _SLICE:
        return [await ask(rows)]
    places = asyncio.Semaphore(_SLICES_AT_ONCE)

    async def ask_in_turn(start: int) -> _Result:
        async with places:
            try:
                return await ask(rows[start : start + _SLICE])
            except Qwen3ClientError as error:
                if error.index is not None:
                    error.index += start  # it counts within the slice
                raise

    tasks = [asyncio.ensure_future(ask_in_turn(start)) for start in range(0, len(rows), _SLICE)]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
