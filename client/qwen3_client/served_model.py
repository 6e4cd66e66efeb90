"""One model on the server: chosen, asked about itself and given its tokenizer, each once, when first needed.

This module turns prompts into token ids, sends them, and takes each text's part out of the answers. It knows nothing
about the position of a text in a call.
"""

import asyncio
import os
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray

from .contract import InfoT, ServedInfo
from .cuts import CutCounter
from .errors import (
    ContractMismatchError,
    InferenceError,
    InvalidInputError,
    Qwen3ClientError,
    TextTooLongError,
    UnknownModelError,
)
from .once import Once
from .options import Priority, Truncate
from .outcome import Outcome
from .session import Session
from .tokenizer import TextTokenizer
from .transports.base import Outputs
from .transports.failures import misfit
from .vectors import checked_row

_MANY_CHARACTERS = 4096  # tokenizing them takes longer, about a millisecond, than asking another thread to do it
_TOKENS_TOGETHER = 512  # in one request; more do not make it cheaper, and a small one waits for less


def by_length(lengths: Sequence[int], *, most: int) -> list[list[int]]:
    """Put rows of equal length together: one request `[b, n]` costs client and server little more than one row.

    Args:
        lengths: tokens of each row, at least 1.
        most: rows that one request may hold.

    Returns:
        For each request the indices of its rows, ascending. Requests are in the order of their first rows.
    """
    found: list[list[int]] = []
    open_request: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        request = open_request.get(length)
        if request is None or len(request) >= min(most, max(_TOKENS_TOGETHER // length, 1)):
            open_request[length] = request = []
            found.append(request)
        request.append(index)
    return found


def check_ids(rows: Sequence[NDArray[np.int64]], info: ServedInfo, *, noun: str) -> None:
    """Check that a model takes rows of token ids, int64 `[n]` each.

    Args:
        rows: token ids.
        info: what the model says about itself.
        noun: what each row is, for errors.

    Raises:
        InvalidInputError: an id is outside the vocabulary.
        TextTooLongError: a row has more tokens than the model takes.
    """
    for index, row in enumerate(rows):
        if row.min() < 0 or row.max() >= info.vocabulary:
            raise InvalidInputError(
                f"token ids must be from 0 to {info.vocabulary - 1}; are they from the model's own tokenizer?",
                index=index,
                noun=noun,
            )
        if row.size > info.max_tokens:
            raise TextTooLongError(
                f"{row.size} tokens, but the model takes {info.max_tokens}; send fewer", index=index, noun=noun
            )


class ServedModel(Generic[InfoT]):
    """A model of one kind.

    Args:
        session: the server.
        kind: what it says about itself, which also says what it takes and gives.
        name: its name on the server; None for the only one of its kind there.
        tokenizer: folder that holds its tokenizer.json, or Hub id; None for the one that the server names.
        prefix: text that begins every prompt, never cut.
        suffix: text that ends every prompt, never cut.

    Attributes:
        name: its name on the server; None while that is still to be found out.
        cut_counter: counts what texts lose at their ends; None, as at first, to spare the work.
    """

    def __init__(
        self,
        session: Session,
        kind: type[InfoT],
        *,
        name: str | None,
        tokenizer: str | os.PathLike[str] | None,
        prefix: str = "",
        suffix: str = "",
    ) -> None:
        self._session = session
        self._kind = kind
        self.name = name
        self._most_texts = 1  # in one request
        self._info = Once(self._ask_info)
        self._tokenizer = Once(self._get_tokenizer)
        self._load_tokenizer = partial(TextTokenizer.load, tokenizer=tokenizer, prefix=prefix, suffix=suffix)
        self.cut_counter: CutCounter | None = None

    async def info(self) -> InfoT:
        """Return what it says about itself; asked once.

        Raises:
            ContractMismatchError: there is no such model, or no only one, or it is not of this kind.
            Qwen3ClientError: the server could not be asked.
        """
        return await self._info.get()

    async def is_ready(self) -> bool:
        """Say whether the server would take a request for it; without a name, for any model of its kind.

        Raises:
            Qwen3ClientError: the server could not be asked.
        """
        if self.name is None:
            return any(self._kind.fits(config) for config in (await self._ready_configs()).values())
        return await self._session.is_ready(self.name)

    async def tokenize(self, prompts: Sequence[str], *, truncate: Truncate) -> Outcome[NDArray[np.int64]]:
        """Turn prompts into what the model reads.

        Args:
            prompts: texts that go between prefix and suffix.
            truncate: which part a text that is too long loses.

        Returns:
            For each prompt, int64 `[n]`; a `TextTooLongError` for the first that is too long if `truncate` is False.

        Raises:
            Qwen3ClientError: the tokenizer is not available.
        """
        tokenizer = await self._tokenizer.get()

        def encode() -> Outcome[NDArray[np.int64]]:
            rows = tokenizer.encode(prompts, truncate=truncate)
            if self.cut_counter is not None:
                for text, row in zip(prompts, rows.results, strict=False):
                    lost = tokenizer.characters_cut(text, row)
                    self.cut_counter.add(kept_tokens=row.size, text=text, characters=lost)
            return rows

        if sum(map(len, prompts)) < _MANY_CHARACTERS:
            return encode()
        return await asyncio.to_thread(encode)

    async def infer(self, rows: Sequence[NDArray[np.int64]], *, priority: Priority | None) -> Outcome[Outputs]:
        """Ask the model about rows of token ids; the rest is given up after the first failure.

        Args:
            rows: int64 `[n]` each.
            priority: whether they go before others that wait; None for "interactive".

        Returns:
            For each row its outputs by name, float32 `[k]` each.
        """
        info = await self.info()
        requests = by_length([row.size for row in rows], most=self._most_texts)
        tasks = [
            asyncio.create_task(self._ask([rows[i] for i in request], info, priority or "interactive"))
            for request in requests
        ]
        answer_of = {i: (task, k) for request, task in zip(requests, tasks, strict=True) for k, i in enumerate(request)}
        results: list[Outputs] = []
        try:
            for index in range(len(rows)):
                task, k = answer_of[index]
                answer = (await task)[k]
                if isinstance(answer, Qwen3ClientError):
                    return Outcome(results, answer)
                results.append(answer)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return Outcome(results)

    async def _ask(
        self, rows: Sequence[NDArray[np.int64]], info: InfoT, priority: Priority
    ) -> Sequence[Outputs | Qwen3ClientError]:
        """Send rows of equal length in one request; what became of each."""
        try:
            answer = await self._session.infer(info.name, np.stack(rows), outputs=info.OUTPUTS, priority=priority)
        except Qwen3ClientError as error:
            if len(rows) > 1 and isinstance(error, InferenceError | InvalidInputError):
                # Which of them it is about, only asking one by one can tell.
                return [(await self._ask([row], info, priority))[0] for row in rows]
            return [error] * len(rows)
        return [self._outputs_of(k, answer, info, count=len(rows)) for k in range(len(rows))]

    def _outputs_of(self, k: int, answer: Outputs, info: InfoT, *, count: int) -> Outputs | Qwen3ClientError:
        """Take one text's part out of the answer to a request of `count` texts."""
        try:
            return {name: checked_row(answer[name], k, shape=(count, info.output_width)) for name in info.OUTPUTS}
        except ContractMismatchError as error:
            return misfit(str(error), model=info.name, address=self._session.options.address)
        except Qwen3ClientError as error:
            return error

    async def _ask_info(self) -> InfoT:
        config = await (self._choose() if self.name is None else self._named(self.name))
        info = self._kind.from_config(config)
        self._most_texts = _most_texts(config)
        self.name = info.name
        return info

    async def _get_tokenizer(self) -> TextTokenizer:
        return await asyncio.to_thread(self._load_tokenizer, await self.info())  # it may have to be fetched

    async def _choose(self) -> Mapping[str, Any]:
        """Return the config of the server's only READY model of this kind."""
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
        """Return the config of the model that the caller named."""
        try:
            return await self._session.model_config(name)
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
        configs: dict[str, Mapping[str, Any]] = {}
        for name in await self._session.models():
            try:
                configs[name] = await self._session.model_config(name)
            except ContractMismatchError:  # unloaded in the meantime
                continue
        return configs


def _others(names: Collection[str]) -> str:
    return f"only {', '.join(names)}" if names else "and no other model"


def _most_texts(config: Mapping[str, Any]) -> int:
    """Return how many texts a request may hold."""
    if (config.get("response_cache") or {}).get("enable"):
        return 1  # the cache knows requests, and finds a text again only if it came alone
    return max(int(config.get("max_batch_size", 0)), 1)
