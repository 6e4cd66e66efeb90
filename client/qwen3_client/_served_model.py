"""One model on the server: chosen, asked about itself and given its tokenizer, each once, when first needed.

This module knows what becomes of an item on its way: prompt, token ids, answer. What the prompt says and what the
answer means is told to it by `_core`.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ._connection import Connection
from ._contract import InfoT
from ._errors import ContractMismatchError, Qwen3ClientError, about
from ._priority import Priority
from ._texts import Truncate
from ._tokenizer import TextTokenizer
from ._transport import Outputs

__all__ = ["Answers", "ServedModel"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_MANY_CHARACTERS = 4096  # tokenizing them takes longer, about a millisecond, than asking another thread to do it


@dataclass(frozen=True, slots=True)
class Answers(Generic[_Result]):
    """What came of a number of items, in their order.

    Attributes:
        results: of the items up to the first that failed, or of all.
        failure: of the first that failed.
    """

    results: list[_Result]
    failure: Qwen3ClientError | None = None

    def all(self) -> list[_Result]:
        """Returns the results of all items.

        Raises:
            Qwen3ClientError: one failed.
        """
        if self.failure is not None:
            raise self.failure
        return self.results


class ServedModel(Generic[InfoT]):
    """A model of one kind.

    Args:
        connection: the server.
        kind: what it says about itself, which also says what it takes and gives.
        name: its name on the server; None for the only one of its kind there.
        tokenizer: folder that holds its tokenizer.json, or Hub id; None for the one that the server names.
        prefix: text that begins every prompt, never cut.
        suffix: text that ends every prompt, never cut.
    """

    def __init__(
        self,
        connection: Connection,
        kind: type[InfoT],
        *,
        name: str | None,
        tokenizer: str | os.PathLike[str] | None,
        prefix: str = "",
        suffix: str = "",
    ) -> None:
        self._connection = connection
        self._kind = kind
        self._name = name
        self._load_tokenizer = partial(TextTokenizer.load, tokenizer=tokenizer, prefix=prefix, suffix=suffix)
        self._lock = asyncio.Lock()
        self._info: InfoT | None = None
        self._failures = 0  # to find out
        self._failure: Qwen3ClientError | None = None  # the latest of them
        self._tokenizer: TextTokenizer | None = None

    @property
    def name(self) -> str | None:
        """Its name on the server; None while that is still to be found out."""
        return self._name

    async def info(self) -> InfoT:
        """What it says about itself; asked once.

        Raises:
            ContractMismatchError: there is no such model, or no only one, or it is not of this kind.
            Qwen3ClientError: the server could not be asked.
        """
        if self._info is not None:
            return self._info
        failures = self._failures
        async with self._lock:
            if self._info is None:
                if self._failure is not None and self._failures != failures:  # whoever asked while we waited
                    raise type(self._failure)(self._failure.args[0])
                try:
                    config = await (self._choose() if self._name is None else self._config(self._name))
                    self._info = self._kind.from_config(config)
                except Qwen3ClientError as error:
                    self._failures, self._failure = self._failures + 1, error
                    raise
                self._name = self._name or self._info.name
            return self._info

    async def is_ready(self) -> bool:
        """Says whether the server would take a request for it; without a name, for any model of its kind.

        Raises:
            Qwen3ClientError: the server could not be asked.
        """
        if self._name is None:
            return any(self._kind.fits(config) for config in (await self._ready_configs()).values())
        return await self._connection.transport.is_ready(self._name, timeout_s=self._connection.timeout_s)

    async def tokenize(
        self,
        items: Sequence[_Item],
        *,
        prompt: Callable[[_Item], str],
        truncate: Truncate,
        noun: str,
        first_index: int = 0,
    ) -> list[NDArray[np.int64]]:
        """Turns items into what the model reads.

        Args:
            items: what to ask about.
            prompt: makes an item's text, which goes between prefix and suffix.
            truncate: which part a text that is too long loses.
            noun: what an item is called in errors.
            first_index: position of `items[0]` in the caller's call, for errors.

        Returns:
            For each item, int64 `[n]`.

        Raises:
            InvalidInputError: a text is too long and `truncate` is False.
            Qwen3ClientError: the tokenizer cannot be had.
        """
        tokenizer = await self._own_tokenizer()
        prompts = [prompt(item) for item in items]
        encode = partial(tokenizer.encode, prompts, truncate=truncate, first_index=first_index, noun=noun)
        if sum(map(len, prompts)) < _MANY_CHARACTERS:
            return encode()
        return await asyncio.to_thread(encode)

    async def ask(
        self,
        items: Sequence[_Item],
        *,
        prompt: Callable[[_Item], str],
        read: Callable[[Outputs], _Result],
        truncate: Truncate,
        priority: Priority,
        noun: str,
        first_index: int = 0,
    ) -> Answers[_Result]:
        """Asks the model about any number of items; the arguments are those of `tokenize` and `ask_tokens`."""

        async def rows(start: int, end: int) -> list[NDArray[np.int64]]:
            return await self.tokenize(
                items[start:end], prompt=prompt, truncate=truncate, noun=noun, first_index=first_index + start
            )

        return await self._answers(len(items), rows, read=read, priority=priority, noun=noun, first_index=first_index)

    async def ask_tokens(
        self,
        input_ids: Sequence[NDArray[np.int64]],
        *,
        read: Callable[[Outputs], _Result],
        priority: Priority,
        noun: str,
    ) -> Answers[_Result]:
        """Asks the model about items that are token ids already.

        Args:
            input_ids: int64 `[n]` each.
            read: takes what is wanted out of the server's answer to one item.
            priority: whether they go before others that wait.
            noun: what an item is called in errors.
        """

        async def rows(start: int, end: int) -> Sequence[NDArray[np.int64]]:
            return input_ids[start:end]

        return await self._answers(len(input_ids), rows, read=read, priority=priority, noun=noun, first_index=0)

    async def _answers(
        self,
        count: int,
        rows: Callable[[int, int], Coroutine[Any, Any, Sequence[NDArray[np.int64]]]],
        *,
        read: Callable[[Outputs], _Result],
        priority: Priority,
        noun: str,
        first_index: int,
    ) -> Answers[_Result]:
        """Sends rows as they are made, a slice at a time, and gives up the rest after the first failure."""
        size = self._connection.concurrency
        results: list[_Result] = []
        pending: deque[asyncio.Task[_Result]] = deque()
        try:
            name = (await self.info()).name
            for start in range(0, count, size):
                for index, row in enumerate(await rows(start, start + size), start=first_index + start):
                    asking = self._ask(name, row, read=read, priority=priority, noun=noun, index=index)
                    pending.append(asyncio.create_task(asking))
                while len(pending) > size:  # a slice stays on its way while the next one is made
                    results.append(await pending.popleft())
            while pending:
                results.append(await pending.popleft())
        except Qwen3ClientError as failure:
            return Answers(results, failure)
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        return Answers(results)

    async def _ask(
        self,
        model: str,
        row: NDArray[np.int64],
        *,
        read: Callable[[Outputs], _Result],
        priority: Priority,
        noun: str,
        index: int,
    ) -> _Result:
        with about(noun, index):
            return read(
                await self._connection.infer(model, row[np.newaxis], outputs=self._kind.OUTPUTS, priority=priority)
            )

    async def _own_tokenizer(self) -> TextTokenizer:
        """Its tokenizer; loaded once."""
        info = await self.info()
        async with self._lock:
            if self._tokenizer is None:
                self._tokenizer = await asyncio.to_thread(self._load_tokenizer, info)  # it may have to be fetched
            return self._tokenizer

    async def _choose(self) -> Mapping[str, Any]:
        """Returns the config of the server's only READY model of this kind."""
        configs = await self._ready_configs()
        found = {name: config for name, config in configs.items() if self._kind.fits(config)}
        noun, option = self._kind.NOUN, self._kind.OPTION
        if len(found) > 1:
            raise ContractMismatchError(
                f"the server has more than one {noun}: {', '.join(found)}; name one with {option}="
            )
        if not found:
            others = f"only {', '.join(configs)}" if configs else "and no other model"
            raise ContractMismatchError(
                f"the server has no {noun} that is ready, {others}; export one with "
                f"`qwen3-triton export {self._kind.CHECKPOINT}` and start the server again"
            )
        (config,) = found.values()
        return config

    async def _ready_configs(self) -> dict[str, Mapping[str, Any]]:
        configs = {}
        for name in await self._connection.transport.models(timeout_s=self._connection.timeout_s):
            try:
                configs[name] = await self._config(name)
            except ContractMismatchError:  # unloaded in the meantime
                continue
        return configs

    async def _config(self, name: str) -> Mapping[str, Any]:
        return await self._connection.transport.model_config(name, timeout_s=self._connection.timeout_s)
