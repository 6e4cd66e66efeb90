"""The client for programs with an event loop: the methods of `Client`, to be awaited.

The work is done on the thread of `_io_thread`, so one client serves any number of event loops, and neither tokenizing
nor a slow server ever holds one of them up.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Iterable, Sequence
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._contract import ModelInfo, RerankerInfo
from ._core import BaseClient
from ._errors import InvalidInputError
from ._priority import Priority
from ._prompts import Kind
from ._ranking import Judgement, RankedDocument
from ._served_model import Answers
from ._texts import Truncate, as_list

__all__ = ["AsyncClient"]

_T = TypeVar("_T")


class AsyncClient(BaseClient):
    """A connection to one Triton server, to an embedding model and a reranker on it, for asyncio.

    It takes the arguments of `Client`, and its methods take and give what those of `Client` do. Tasks, event loops and
    threads may share one. Cancelling a call gives up its requests on the server too.
    """

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
        """As `Client.close`."""
        if (closing := self._core.connection.close_soon()) is not None:
            await asyncio.wrap_future(closing)

    async def info(self) -> ModelInfo:
        """As `Client.info`."""
        return await self._run(self._core.info())

    async def reranker_info(self) -> RerankerInfo:
        """As `Client.reranker_info`."""
        return await self._run(self._core.reranker_info())

    async def is_ready(self) -> bool:
        """As `Client.is_ready`."""
        return await self._run(self._core.is_ready())

    async def encode_query(
        self,
        texts: str | Sequence[str],
        *,
        instruction: str | None = None,
        dimensions: int | None = None,
        truncate: Truncate = True,
        priority: Priority | None = None,
    ) -> NDArray[np.float32]:
        """As `Client.encode_query`."""
        return await self._run(
            self._core.encode(
                texts,
                kind="query",
                instruction=instruction,
                dimensions=dimensions,
                truncate=truncate,
                priority=priority,
            )
        )

    async def encode_document(
        self,
        texts: str | Sequence[str],
        *,
        dimensions: int | None = None,
        truncate: Truncate = True,
        priority: Priority | None = None,
    ) -> NDArray[np.float32]:
        """As `Client.encode_document`."""
        return await self._run(
            self._core.encode(texts, kind="document", dimensions=dimensions, truncate=truncate, priority=priority)
        )

    async def encode_stream(
        self,
        texts: Iterable[str] | AsyncIterable[str],
        *,
        kind: Kind = "document",
        instruction: str | None = None,
        dimensions: int | None = None,
        truncate: Truncate = True,
        priority: Priority | None = None,
    ) -> AsyncIterator[NDArray[np.float32]]:
        """As `Client.encode_stream`; the texts may come from an asynchronous iterable.

        Options are checked when the first row is asked for.
        """
        if isinstance(texts, str):
            raise InvalidInputError("encode_stream takes an iterable of texts, not one str: use encode_document")
        embed = await self._run(
            self._core.stream(
                kind=kind, instruction=instruction, dimensions=dimensions, truncate=truncate, priority=priority
            )
        )
        index = 0
        pending: deque[asyncio.Future[Answers[NDArray[np.float32]]]] = deque()
        try:
            async for group in _groups(texts, size=self._core.group_size):
                batch = as_list(group, first_index=index)
                pending.append(self._run(embed(batch, first_index=index)))
                index += len(group)
                if len(pending) > 1:  # one group stays on its way while its caller uses the rows of another
                    answers = await pending.popleft()
                    for row in answers.results:
                        yield row
                    answers.all()  # raises where one failed
            while pending:
                answers = await pending.popleft()
                for row in answers.results:
                    yield row
                answers.all()
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
    ) -> list[NDArray[np.int64]]:
        """As `Client.tokenize`."""
        return await self._run(self._core.tokenize(texts, kind=kind, instruction=instruction, truncate=truncate))

    async def encode_tokens(
        self, input_ids: Sequence[ArrayLike], *, dimensions: int | None = None, priority: Priority | None = None
    ) -> NDArray[np.float32]:
        """As `Client.encode_tokens`."""
        return await self._run(self._core.encode_tokens(input_ids, dimensions=dimensions, priority=priority))

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
        """As `Client.rank`."""
        return await self._run(
            self._core.rank(
                query,
                documents,
                instruction=instruction,
                top_k=top_k,
                return_documents=return_documents,
                truncate=truncate,
                priority=priority,
            )
        )

    async def score(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        instruction: str | None = None,
        truncate: bool = True,
        priority: Priority | None = None,
    ) -> NDArray[np.float32]:
        """As `Client.score`."""
        return await self._run(self._core.score(pairs, instruction=instruction, truncate=truncate, priority=priority))

    async def tokenize_pairs(
        self, pairs: Sequence[tuple[str, str]], *, instruction: str | None = None, truncate: bool = True
    ) -> list[NDArray[np.int64]]:
        """As `Client.tokenize_pairs`."""
        return await self._run(self._core.tokenize_pairs(pairs, instruction=instruction, truncate=truncate))

    async def score_tokens(
        self, input_ids: Sequence[ArrayLike], *, priority: Priority | None = None
    ) -> list[Judgement]:
        """As `Client.score_tokens`."""
        return await self._run(self._core.score_tokens(input_ids, priority=priority))

    def _run(self, coroutine: Coroutine[Any, Any, _T]) -> "asyncio.Future[_T]":
        return asyncio.wrap_future(self._core.connection.start(coroutine))


async def _groups(texts: Iterable[str] | AsyncIterable[str], *, size: int) -> AsyncIterator[list[str]]:
    """Yields the texts in groups of a size, the last of which may be smaller."""
    group: list[str] = []
    async for text in _each(texts):
        group.append(text)
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
