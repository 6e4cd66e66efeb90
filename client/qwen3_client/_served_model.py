"""One model on the server: chosen, asked about itself and given its tokenizer, each once, when first needed.

This module knows what becomes of an item on its way: prompt, token ids, answer. What the prompt says and what the
answer means is told to it by `_core`.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ._connection import Connection
from ._contract import InfoT
from ._cuts import CutCounter
from ._errors import (
    ContractMismatchError,
    InferenceError,
    InvalidInputError,
    Qwen3ClientError,
    UnknownModelError,
    about,
)
from ._priority import Priority
from ._texts import Truncate
from ._tokenizer import TextTokenizer
from ._transport import Outputs, misfit

__all__ = ["Answers", "ServedModel", "by_length"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_MANY_CHARACTERS = 4096  # tokenizing them takes longer, about a millisecond, than asking another thread to do it
_TOKENS_TOGETHER = 512  # in one request; more do not make it cheaper, and a small one waits for less


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


@dataclass(frozen=True, slots=True)
class _Pending(Generic[_Result]):
    """The answer to one row, on its way with others.

    Attributes:
        task: the request's.
        place: the row's in it.
    """

    task: "asyncio.Task[list[_Result | Qwen3ClientError]]"
    place: int

    async def result(self) -> _Result:
        """Waits for it.

        Raises:
            Qwen3ClientError: there is none.
        """
        answer = (await self.task)[self.place]
        if isinstance(answer, Qwen3ClientError):
            raise answer
        return answer


def by_length(lengths: Sequence[int], *, most: int) -> list[list[int]]:
    """Puts rows of equal length together: one request `[b, n]` costs client and server little more than one row.

    Args:
        lengths: tokens of each row, at least 1.
        most: rows that one request may hold.

    Returns:
        For each request the places of its rows, ascending. Requests are in the order of their first rows.
    """
    found: list[list[int]] = []
    open_request: dict[int, list[int]] = {}
    for place, length in enumerate(lengths):
        request = open_request.get(length)
        if request is None or len(request) >= min(most, max(_TOKENS_TOGETHER // length, 1)):
            open_request[length] = request = []
            found.append(request)
        request.append(place)
    return found


class ServedModel(Generic[InfoT]):
    """A model of one kind.

    Args:
        connection: the server.
        kind: what it says about itself, which also says what it takes and gives.
        name: its name on the server; None for the only one of its kind there.
        tokenizer: folder that holds its tokenizer.json, or Hub id; None for the one that the server names.
        prefix: text that begins every prompt, never cut.
        suffix: text that ends every prompt, never cut.

    Attributes:
        cut_counter: counts what texts lose at their ends; None, as at first, to spare the work.
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
        self._most_texts = 1  # in one request
        self._failures = 0  # to find out
        self._failure: Qwen3ClientError | None = None  # the latest of them
        self._tokenizer: TextTokenizer | None = None
        self.cut_counter: CutCounter | None = None

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
                    config = await (self._choose() if self._name is None else self._named(self._name))
                    self._info = self._kind.from_config(config)
                    self._most_texts = _most_texts(config)
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

        def encode() -> list[NDArray[np.int64]]:
            rows = tokenizer.encode(prompts, truncate=truncate, first_index=first_index, noun=noun)
            if self.cut_counter is not None:
                for text, row in zip(prompts, rows, strict=True):
                    lost = tokenizer.characters_cut(text, row)
                    self.cut_counter.add(kept_tokens=row.size, text=text, characters=lost)
            return rows

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
        pending: deque[_Pending[_Result]] = deque()  # of each row, in order
        try:
            name = (await self.info()).name
            for start in range(0, count, size):
                made = await rows(start, start + size)
                slots: dict[int, _Pending[_Result]] = {}
                for together in by_length([row.size for row in made], most=self._most_texts):
                    indices = [first_index + start + place for place in together]
                    asking = self._ask(
                        name, [made[place] for place in together], indices, read=read, priority=priority, noun=noun
                    )
                    task = asyncio.create_task(asking)
                    slots |= {place: _Pending(task, i) for i, place in enumerate(together)}
                pending.extend(slots[place] for place in range(len(made)))
                while len(pending) > size:  # a slice stays on its way while the next one is made
                    results.append(await pending.popleft().result())
            while pending:
                results.append(await pending.popleft().result())
        except Qwen3ClientError as failure:
            return Answers(results, failure)
        finally:
            tasks = {waiting.task for waiting in pending}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return Answers(results)

    async def _ask(
        self,
        model: str,
        rows: Sequence[NDArray[np.int64]],
        indices: Sequence[int],
        *,
        read: Callable[[Outputs], _Result],
        priority: Priority,
        noun: str,
    ) -> list[_Result | Qwen3ClientError]:
        """Asks about rows of equal length in one request; what came of each.

        Args:
            model: name of the model.
            rows: int64 `[n]` each.
            indices: positions of the rows in the caller's call, for errors.
            read: takes what is wanted out of the server's answer to one row.
            priority: whether they go before others that wait.
            noun: what a row is called in errors.
        """
        try:
            outputs = await self._connection.infer(model, np.stack(rows), outputs=self._kind.OUTPUTS, priority=priority)
        except Qwen3ClientError as error:
            if len(rows) > 1 and isinstance(error, InferenceError | InvalidInputError):
                # Which of them it is about, only asking one by one can tell.
                each = [
                    await self._ask(model, [row], [index], read=read, priority=priority, noun=noun)
                    for row, index in zip(rows, indices, strict=True)
                ]
                return [answer for (answer,) in each]
            error.noun, error.index = noun, indices[0]
            return [error] * len(rows)
        answers: list[_Result | Qwen3ClientError] = []
        for place, index in enumerate(indices):
            try:
                with about(noun, index):
                    answers.append(read({name: _row(o, place, of=len(rows)) for name, o in outputs.items()}))
            except ContractMismatchError as error:
                wrong = misfit(str(error.args[0]), model=model, address=self._connection.address)
                wrong.noun, wrong.index = noun, index
                answers.append(wrong)
            except Qwen3ClientError as error:
                answers.append(error)
        return answers

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
            raise ContractMismatchError(
                f"the server has no {noun} that is ready, {_others(configs)}; export one with "
                f"`qwen3-triton export {self._kind.CHECKPOINT}` and start the server again"
            )
        (config,) = found.values()
        return config

    async def _named(self, name: str) -> Mapping[str, Any]:
        """Returns the config of the model that the caller named."""
        try:
            return await self._config(name)
        except UnknownModelError as unknown:
            try:
                configs = await self._ready_configs()
            except Qwen3ClientError:  # the list may be guarded where a model is not
                raise unknown from None
            noun, option = self._kind.NOUN, self._kind.OPTION
            found = [other for other, config in configs.items() if self._kind.fits(config)]
            if found:
                there = f"its {noun}s are: {', '.join(found)}; name one of them with {option}="
            else:
                there = f"nor any {noun} that is ready, {_others(configs)}"
            raise UnknownModelError(f"the server has no model {name!r}; {there}") from unknown

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


def _others(names: Collection[str]) -> str:
    return f"only {', '.join(names)}" if names else "and no other model"


def _most_texts(config: Mapping[str, Any]) -> int:
    """How many texts a request may hold."""
    if (config.get("response_cache") or {}).get("enable"):
        return 1  # the cache knows requests, and finds a text again only if it came alone
    return max(int(config.get("max_batch_size", 0)), 1)


def _row(output: NDArray[np.float32], place: int, *, of: int) -> NDArray[np.float32]:
    """One row's part `[1, k]` of a tensor that should be `[of, k]`."""
    if of == 1:
        return output
    if output.shape[:1] != (of,):
        raise ContractMismatchError(f"the server sent {output.dtype} {list(output.shape)} for {of} texts")
    return output[place : place + 1]
