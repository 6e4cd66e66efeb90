"""What both clients do, written once: everything but how the caller waits.

Each method checks its arguments at once, in the caller's thread, and returns a coroutine for the thread of
`_io_thread`. How a prompt reads, how a vector is cut and how documents are put in order are other modules' business.
"""

import math
import os
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._address import parse_address
from ._connection import Connection
from ._contract import EMBEDDING_NAME, LOGIT_NAME, SCORE_NAME, ModelInfo, RerankerInfo, ServedInfo
from ._credentials import Tls, credentials_for
from ._cuts import CutCounter
from ._errors import (
    ContractMismatchError,
    InvalidInputError,
    ServerTimeoutError,
    ServerUnavailableError,
    about,
)
from ._priority import Priority, checked_priority
from ._prompts import RERANKER_PREFIX, RERANKER_SUFFIX, Kind, pair_prompt, prompt_for, task
from ._ranking import Judgement, RankedDocument, checked_top_k, ranked
from ._served_model import Answers, ServedModel
from ._texts import Truncate, as_documents, as_list, as_pairs, checked_text, checked_truncate
from ._transport import Outputs
from ._vectors import checked_dimensions, checked_row, cut

__all__ = ["BaseClient", "Core", "EmbedGroup", "Later"]

_T = TypeVar("_T")

Later: TypeAlias = Coroutine[Any, Any, _T]
Vector: TypeAlias = NDArray[np.float32]

_BY_KIND: dict[Kind, Priority] = {"query": "interactive", "document": "bulk"}


class EmbedGroup:
    """Embeds one group of texts of a stream after another, all with the same options."""

    def __init__(
        self,
        model: ServedModel[ModelInfo],
        info: ModelInfo,
        *,
        kind: Kind,
        instruction: str | None,
        dimensions: int | None,
        truncate: Truncate,
        priority: Priority | None,
    ) -> None:
        self._model = model
        self._prompt = prompt_for(kind, instruction=instruction, default_instruction=info.default_instruction)
        self._width = info.output_width
        self._truncate = truncate
        self._priority = checked_priority(priority, default=_BY_KIND[kind])
        self.dimensions = checked_dimensions(dimensions, full=info.dimensions)

    def __call__(self, texts: Sequence[str], *, first_index: int = 0) -> Later[Answers[Vector]]:
        """Embeds texts.

        Args:
            texts: any number of checked texts.
            first_index: position of `texts[0]` in the stream, for errors.
        """
        return self._model.ask(
            texts,
            prompt=self._prompt,
            read=self._read,
            truncate=self._truncate,
            priority=self._priority,
            noun="text",
            first_index=first_index,
        )

    def _read(self, outputs: Outputs) -> Vector:
        return read_vector(outputs, width=self._width, dimensions=self.dimensions)


class Core:
    """A connection to one server, an embedding model and a reranker on it. The arguments are those of `Client`."""

    def __init__(
        self,
        url: str,
        *,
        model: str | None,
        reranker: str | None,
        tokenizer: str | os.PathLike[str] | None,
        reranker_tokenizer: str | os.PathLike[str] | None,
        timeout_s: float,
        retry_s: float,
        concurrency: int,
        tls: Tls | None,
        token: str | None,
        headers: Mapping[str, str] | None,
    ) -> None:
        address = parse_address(url)
        if not 0 < timeout_s < math.inf:
            raise InvalidInputError(f"timeout_s must be a positive number of seconds, not {timeout_s!r}")
        if not 0 <= retry_s < math.inf:
            raise InvalidInputError(f"retry_s must be a number of seconds, or 0 for no second try, not {retry_s!r}")
        if concurrency < 1:
            raise InvalidInputError(f"concurrency must be at least 1, not {concurrency!r}")
        for option, name in (("model", model), ("reranker", reranker)):
            if name is not None:
                checked_text(name, what=option)
        self.group_size = concurrency
        self.connection = Connection(
            address,
            credentials=credentials_for(address, tls=tls, token=token, headers=headers),
            timeout_s=timeout_s,
            retry_s=retry_s,
            concurrency=concurrency,
        )
        self._embedding_model = ServedModel(self.connection, ModelInfo, name=model, tokenizer=tokenizer)
        self._reranker = ServedModel(
            self.connection,
            RerankerInfo,
            name=reranker,
            tokenizer=reranker_tokenizer,
            prefix=RERANKER_PREFIX,
            suffix=RERANKER_SUFFIX,
        )

    def info(self) -> Later[ModelInfo]:
        """See `Client.info`."""
        return self._embedding_model.info()

    def reranker_info(self) -> Later[RerankerInfo]:
        """See `Client.reranker_info`."""
        return self._reranker.info()

    def count_cuts(self) -> CutCounter:
        """Returns what counts, from now on, what the embedding model's texts lose at their ends."""
        counter = self._embedding_model.cut_counter = CutCounter()
        return counter

    async def is_ready(self) -> bool:
        """See `Client.is_ready`."""
        models = (self._embedding_model, self._reranker)
        known = [model for model in models if model.name is not None]
        try:
            if known:
                return all([await model.is_ready() for model in known])
            return any([await model.is_ready() for model in models])
        except (ContractMismatchError, ServerTimeoutError, ServerUnavailableError):
            return False

    def encode(
        self,
        texts: str | Sequence[str],
        *,
        kind: Kind,
        instruction: str | None = None,
        dimensions: int | None,
        truncate: Truncate,
        priority: Priority | None,
    ) -> Later[Vector]:
        """See `Client.encode_query`."""
        # All texts are checked before the first is sent, so that a bad one costs nothing.
        batch = as_list([texts] if isinstance(texts, str) else texts)
        checked_truncate(truncate)
        first = checked_priority(priority, default=_BY_KIND[kind])

        async def encode() -> Vector:
            embed = await self.stream(
                kind=kind, instruction=instruction, dimensions=dimensions, truncate=truncate, priority=first
            )
            table = _table((await embed(batch)).all(), dimensions=embed.dimensions)
            return table[0] if isinstance(texts, str) else table

        return encode()

    async def stream(
        self,
        *,
        kind: Kind,
        instruction: str | None,
        dimensions: int | None,
        truncate: Truncate,
        priority: Priority | None,
    ) -> EmbedGroup:
        """Checks the options of `Client.encode_stream` and returns what embeds its texts, a group at a time."""
        return EmbedGroup(
            self._embedding_model,
            await self._embedding_model.info(),
            kind=kind,
            instruction=instruction,
            dimensions=dimensions,
            truncate=checked_truncate(truncate),
            priority=priority,
        )

    def tokenize(
        self, texts: Sequence[str], *, kind: Kind, instruction: str | None, truncate: Truncate
    ) -> Later[list[NDArray[np.int64]]]:
        """See `Client.tokenize`."""
        if isinstance(texts, str):
            raise InvalidInputError("tokenize takes a sequence of texts, not one str: put it into a list")
        batch, model = as_list(texts), self._embedding_model
        checked_truncate(truncate)

        async def tokenize() -> list[NDArray[np.int64]]:
            default = (await model.info()).default_instruction
            prompt = prompt_for(kind, instruction=instruction, default_instruction=default)
            return await model.tokenize(batch, prompt=prompt, truncate=truncate, noun="text")

        return tokenize()

    def encode_tokens(
        self, input_ids: Sequence[ArrayLike], *, dimensions: int | None, priority: Priority | None
    ) -> Later[Vector]:
        """See `Client.encode_tokens`."""
        first = checked_priority(priority, default="bulk")
        rows = [_checked_ids(row, index=index, noun="text") for index, row in enumerate(input_ids)]

        async def encode() -> Vector:
            info = await self._embedding_model.info()
            _check_vocabulary(rows, info, noun="text")
            wanted = checked_dimensions(dimensions, full=info.dimensions)
            read = partial(read_vector, width=info.output_width, dimensions=wanted)
            answers = await self._embedding_model.ask_tokens(rows, read=read, priority=first, noun="text")
            return _table(answers.all(), dimensions=wanted)

        return encode()

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        instruction: str | None,
        top_k: int | None,
        return_documents: bool,
        truncate: bool,
        priority: Priority | None,
    ) -> Later[list[RankedDocument]]:
        """See `Client.rank`."""
        checked_text(query, what="the query")
        texts, most = as_documents(documents), checked_top_k(top_k)
        pairs = [(query, text) for text in texts]
        first = checked_priority(priority, default="interactive")

        async def rank() -> list[RankedDocument]:
            judgements = await self._judge(
                pairs, instruction=instruction, truncate=truncate, priority=first, noun="document"
            )
            return ranked(judgements, documents=texts if return_documents else None, top_k=most)

        return rank()

    def score(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        instruction: str | None,
        truncate: bool,
        priority: Priority | None,
    ) -> Later[NDArray[np.float32]]:
        """See `Client.score`."""
        batch = as_pairs(pairs)
        first = checked_priority(priority, default="interactive")

        async def score() -> NDArray[np.float32]:
            judgements = await self._judge(
                batch, instruction=instruction, truncate=truncate, priority=first, noun="pair"
            )
            return np.array([judgement.score for judgement in judgements], dtype=np.float32)

        return score()

    def tokenize_pairs(
        self, pairs: Sequence[tuple[str, str]], *, instruction: str | None, truncate: bool
    ) -> Later[list[NDArray[np.int64]]]:
        """See `Client.tokenize_pairs`."""
        batch, model = as_pairs(pairs), self._reranker

        async def tokenize() -> list[NDArray[np.int64]]:
            default = (await model.info()).default_instruction
            prompt = partial(pair_prompt, instruction=task(instruction, default=default))
            return await model.tokenize(batch, prompt=prompt, truncate=bool(truncate), noun="pair")

        return tokenize()

    def score_tokens(self, input_ids: Sequence[ArrayLike], *, priority: Priority | None) -> Later[list[Judgement]]:
        """See `Client.score_tokens`."""
        first = checked_priority(priority, default="interactive")
        rows = [_checked_ids(row, index=index, noun="pair") for index, row in enumerate(input_ids)]

        async def score() -> list[Judgement]:
            _check_vocabulary(rows, await self._reranker.info(), noun="pair")
            return (await self._reranker.ask_tokens(rows, read=_read_judgement, priority=first, noun="pair")).all()

        return score()

    async def _judge(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        instruction: str | None,
        truncate: bool,
        priority: Priority,
        noun: str,
    ) -> list[Judgement]:
        info = await self._reranker.info()
        prompt = partial(pair_prompt, instruction=task(instruction, default=info.default_instruction))
        answers = await self._reranker.ask(
            pairs, prompt=prompt, read=_read_judgement, truncate=bool(truncate), priority=priority, noun=noun
        )
        return answers.all()


class BaseClient:
    """What makes a client, of either kind."""

    def __init__(
        self,
        url: str = "localhost:8001",
        *,
        model: str | None = None,
        reranker: str | None = None,
        tokenizer: str | os.PathLike[str] | None = None,
        reranker_tokenizer: str | os.PathLike[str] | None = None,
        timeout_s: float = 300.0,
        retry_s: float = 60.0,
        concurrency: int = 64,
        tls: Tls | None = None,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._core = Core(
            url,
            model=model,
            reranker=reranker,
            tokenizer=tokenizer,
            reranker_tokenizer=reranker_tokenizer,
            timeout_s=timeout_s,
            retry_s=retry_s,
            concurrency=concurrency,
            tls=tls,
            token=token,
            headers=headers,
        )


def read_vector(outputs: Outputs, *, width: int, dimensions: int) -> Vector:
    """Takes the vector out of an embedding model's answer to one text and cuts it."""
    return cut(checked_row(outputs[EMBEDDING_NAME], width=width), dimensions=dimensions)


def _read_judgement(outputs: Outputs) -> Judgement:
    (score,), (logit,) = (checked_row(outputs[name], width=1).tolist() for name in (SCORE_NAME, LOGIT_NAME))
    return Judgement(score=score, logit=logit)


def _table(rows: Sequence[Vector], *, dimensions: int) -> Vector:
    return np.stack(rows) if rows else np.empty((0, dimensions), np.float32)


def _checked_ids(ids: ArrayLike, *, index: int, noun: str) -> NDArray[np.int64]:
    """Returns token ids as int64 `[n]`."""
    with about(noun, index):
        try:
            row = np.asarray(ids)
        except ValueError as error:
            raise InvalidInputError(f"token ids must be a flat sequence of whole numbers: {error}") from None
        if row.ndim != 1 or row.size == 0 or row.dtype.kind not in "iu" or row.max() > np.iinfo(np.int64).max:
            raise InvalidInputError(
                f"token ids must be a flat sequence of whole numbers that is not empty, not {row.dtype} "
                f"{list(row.shape)}"
            )
        return row.astype(np.int64)


def _check_vocabulary(rows: Sequence[NDArray[np.int64]], info: ServedInfo, *, noun: str) -> None:
    for index, row in enumerate(rows):
        with about(noun, index):
            if row.min() < 0 or row.max() >= info.vocabulary:
                raise InvalidInputError(
                    f"token ids must be from 0 to {info.vocabulary - 1}; are they from the model's own tokenizer?"
                )
            if row.size > info.max_tokens:
                raise InvalidInputError(f"{row.size} tokens, but the model takes {info.max_tokens}; send fewer")
