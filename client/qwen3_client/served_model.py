"""A model on the server under the terms that its config states, with the tokenizer that belongs to them.

This module turns prompts into token ids, sends them, and takes the row of each text out of the answers. It knows
nothing about a text's index in a call, nor about retries.
"""

import asyncio
import os
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from copy import copy
from functools import partial
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from .at_once import has_loop
from .contract import InfoT
from .cuts import CutCounter
from .errors import (
    ContractMismatchError,
    InferenceError,
    InvalidInputError,
    ModelChangedError,
    Qwen3ClientError,
)
from .fingerprint import OUTPUT_NAME, from_number
from .frame import Prompt
from .once import Once
from .options import Priority, Truncate
from .outcome import Outcome
from .session import Session
from .terms import Terms
from .thread_work import Abandonment, run_in_thread
from .token_ids import by_length
from .tokenizer import TextTokenizer, TokenRow
from .transports.base import Outputs
from .transports.failures import misfit
from .vectors import checked_row

_T = TypeVar("_T")

# Tokenizing that many takes 1.3 ms, for which an event loop may be blocked. Handing them to another thread costs 0.1 ms
# on an idle machine, but several milliseconds where all cores are busy.
_MANY_CHARACTERS = 4096
_CHARACTERS_PER_TEXT = 32  # which take as long as what has to be done for each text besides


class Answer(NamedTuple):
    """The answer of a model to one text or pair.

    Attributes:
        row: the token ids that were sent.
        outputs: the model's outputs by name, float32 `[k]` each.
    """

    row: TokenRow
    outputs: Outputs


class ServedModel(Generic[InfoT]):
    """A model on the server as it was when its config was read.

    All texts of a call are tokenized and sent by one `ServedModel`, so their vectors are of one space: an answer of
    another model is an error.

    Args:
        session: the connection to the server.
        terms: what the model's config said.
        tokenizer: folder with its tokenizer.json, or a Hub id; None for the tokenizer that the server names.

    Attributes:
        stated: what the model's config said.
        terms: the same, except for the fingerprint where an older version answers.
        info: what the model says about itself.
        cut_counter: counts what is cut off from the ends of texts; None, the initial value, to not count.
    """

    def __init__(self, session: Session, terms: Terms[InfoT], *, tokenizer: str | os.PathLike[str] | None) -> None:
        self._session = session
        self.stated = self.terms = terms
        self.info = terms.info
        self._tokenizer = Once(self._get_tokenizer, create_task=session.create_task)
        self._load_tokenizer = partial(
            TextTokenizer.load, tokenizer=tokenizer, special_tokens=session.options.special_tokens
        )
        self.cut_counter: CutCounter | None = None

    def answered_by(self, number: int) -> "ServedModel[InfoT]":
        """Return the same, where another version of the model answers, which has the same tokenizer."""
        other = copy(self)
        other.terms = self.terms.answered_by(number)
        other.info = other.terms.info
        return other

    async def check(
        self, prompts: Sequence[Prompt], *, truncate: Truncate, noun: str, max_total_tokens: int | None = None
    ) -> None:
        """Refuse a call of which one or all texts are too long, as far as their characters show it.

        Args:
            prompts: the texts of the call with their frames.
            truncate: which part is cut off from a text that is too long.
            noun: what to call each of the prompts in an error.
            max_total_tokens: maximum number of tokens of all texts together; None for any number.

        Raises:
            TextTooLongError: a text is too long, and `truncate` is False. Its `index` is that of the prompt.
            TooManyTokensError: all texts together have too many tokens.
            InvalidInputError: an instruction leaves no room for a text, or a text cannot be tokenized piece by piece.
            Qwen3ClientError: the tokenizer is not available.
        """
        if truncate is False or max_total_tokens is not None:
            tokenizer = await self._tokenizer.get()
            await self._run(
                lambda _: tokenizer.check(prompts, truncate=truncate, noun=noun, max_total_tokens=max_total_tokens),
                prompts,
            )

    async def tokenize(
        self,
        prompts: Sequence[Prompt],
        *,
        truncate: Truncate,
        max_tokens: int | None = None,
        max_total_tokens: int | None = None,
    ) -> Outcome[TokenRow]:
        """Turn prompts into token ids.

        Args:
            prompts: texts with their frames.
            truncate: which part is cut off from a text that is too long.
            max_tokens: maximum number of ids for one text; None for what the model takes.
            max_total_tokens: maximum number of ids of all texts together; None for any number.

        Returns:
            For each prompt its ids. If `truncate` is False, the failure of the first prompt that is too long.

        Raises:
            InvalidInputError: an instruction or `max_tokens` leaves no room for a text.
            TooManyTokensError: all texts together have too many tokens.
            Qwen3ClientError: the tokenizer is not available.
        """
        tokenizer = await self._tokenizer.get()

        def encode(abandonment: Abandonment) -> Outcome[TokenRow]:
            rows = tokenizer.encode(
                prompts,
                truncate=truncate,
                max_tokens=max_tokens,
                max_total_tokens=max_total_tokens,
                abandonment=abandonment,
            )
            if self.cut_counter is not None:
                for prompt, row in zip(prompts, rows.results, strict=False):
                    lost = tokenizer.characters_cut(prompt, row)
                    self.cut_counter.add(kept_tokens=row.ids.size, text=prompt.text, characters=lost)
            return rows

        return await self._run(encode, prompts)

    async def _run(self, work: Callable[[Abandonment], _T], prompts: Sequence[Prompt]) -> _T:
        """Do work on prompts: here if it is short or no loop would be blocked, and otherwise on another thread."""
        abandonment = Abandonment()
        characters = sum(len(prompt.text) + len(prompt.frame.query or "") for prompt in prompts)
        characters += _CHARACTERS_PER_TEXT * len(prompts)
        if prompts:  # the frames of one call differ in their queries only
            characters += sum(len(part.text) for part in (*prompts[0].frame.before, *prompts[0].frame.after))
        if characters < _MANY_CHARACTERS or not has_loop():
            return work(abandonment)
        return await run_in_thread(lambda: work(abandonment), abandonment=abandonment)

    async def answers(
        self, texts: Sequence[Prompt | TokenRow], *, truncate: Truncate, priority: Priority | None
    ) -> AsyncGenerator[Outcome[Answer], None]:
        """Tokenize texts and send them to the model, two groups at a time: one is tokenized while the other is sent.

        Closing the generator cancels what is under way.

        Args:
            texts: prompts, or token ids if they have been tokenized already.
            truncate: which part is cut off from a text that is too long.
            priority: which requests go first where some wait; None for "interactive".

        Yields:
            The answers to each group, in order.

        Raises:
            ModelChangedError: the server has another model now.
            Qwen3ClientError: as `tokenize`.
        """
        size = self._session.options.concurrency
        if len(texts) <= size:  # which needs no task
            yield await self._answer(texts, truncate=truncate, priority=priority)
            return
        under_way: deque[asyncio.Task[Outcome[Answer]]] = deque()
        try:
            for start in range(0, len(texts), size):
                group = self._answer(texts[start : start + size], truncate=truncate, priority=priority)
                under_way.append(asyncio.create_task(group))
                if len(under_way) > 1:
                    yield await under_way.popleft()
            while under_way:
                yield await under_way.popleft()
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _answer(
        self, texts: Sequence[Prompt | TokenRow], *, truncate: Truncate, priority: Priority | None
    ) -> Outcome[Answer]:
        """Tokenize a few texts, unless they have been tokenized already, and send them to the model."""
        if prompts := [text for text in texts if isinstance(text, Prompt)]:
            rows = await self.tokenize(prompts, truncate=truncate)
        else:
            rows = Outcome([text for text in texts if isinstance(text, TokenRow)])
        outputs = await self._infer([row.ids for row in rows.results], priority=priority or "interactive")
        answers = [Answer(row, found) for row, found in zip(rows.results, outputs.results, strict=False)]
        return Outcome(answers, outputs.failure or rows.failure)

    async def _infer(self, rows: Sequence[NDArray[np.int64]], *, priority: Priority) -> Outcome[Outputs]:
        """Send token ids to the model, int64 `[n]` for each text. After a failure, cancel the other requests."""
        requests = by_length([row.size for row in rows], most=self.terms.most_texts)
        if len(requests) <= 1:  # which needs no task
            return Outcome.until_failure(await self._ask(rows, priority) if rows else [])
        tasks = [asyncio.create_task(self._ask([rows[i] for i in request], priority)) for request in requests]
        answer_of = {i: (task, k) for request, task in zip(requests, tasks, strict=True) for k, i in enumerate(request)}
        answers: list[Outputs | Qwen3ClientError] = []
        try:
            for index in range(len(rows)):
                task, k = answer_of[index]
                answers.append((await task)[k])
                if isinstance(answers[-1], Qwen3ClientError):
                    break
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return Outcome.until_failure(answers)

    async def _ask(self, rows: Sequence[NDArray[np.int64]], priority: Priority) -> Sequence[Outputs | Qwen3ClientError]:
        """Send texts of equal length in one request, and return the outputs or the error of each.

        Raises:
            ModelChangedError: the server has another model now.
        """
        terms, info = self.terms, self.info
        try:
            answer = await self._session.infer(info.name, np.stack(rows), outputs=terms.outputs, priority=priority)
        except Qwen3ClientError as error:
            if isinstance(error, InferenceError | InvalidInputError | ContractMismatchError):
                await self._refuse_if_changed(error)
            if len(rows) > 1 and isinstance(error, InferenceError | InvalidInputError):
                # The error may be about one of the texts only: sending them one by one shows which.
                return [(await self._ask([row], priority))[0] for row in rows]
            return [error] * len(rows)
        if terms.number is not None:
            answered = {int(number) for number in answer[OUTPUT_NAME].flat}
            if answered != {terms.number}:
                raise self._changed(from_number(answered.pop()) if len(answered) == 1 else None)
        found = [self._outputs_of(k, answer, count=len(rows)) for k in range(len(rows))]
        if terms.number is None and (misfits := [each for each in found if isinstance(each, ContractMismatchError)]):
            await self._refuse_if_changed(misfits[0])
        return found

    async def _refuse_if_changed(self, error: Qwen3ClientError) -> None:
        """Look whether a request failed because the server has another model now.

        Raises:
            ModelChangedError: it has.
        """
        try:
            config = await self._session.model_config(self.info.name)
            now = Terms.from_config(config, kind=type(self.info))
        except Qwen3ClientError:
            return  # then `error` is what there is to say
        if not now.agree(self.stated):
            raise self._changed(now.info.fingerprint) from error

    def _changed(self, answered: str | None) -> ModelChangedError:
        now = f"; now it is {answered}" if answered else ""
        return ModelChangedError(
            f"the model {self.info.name!r} at {self._session.options.address} was replaced: its fingerprint was "
            f"{self.info.fingerprint}{now}, so nothing of this call is returned; begin again, with the texts",
            answered=answered,
        )

    def _outputs_of(self, k: int, answer: Outputs, *, count: int) -> Outputs | Qwen3ClientError:
        """Take the row of text `k` out of the answer to a request of `count` texts."""
        info = self.info
        try:
            return {name: checked_row(answer[name], k, shape=(count, info.output_width)) for name in info.OUTPUTS}
        except ContractMismatchError as error:
            return misfit(str(error), model=info.name, address=self._session.options.address)
        except Qwen3ClientError as error:
            return error

    async def _get_tokenizer(self) -> TextTokenizer:
        return await asyncio.to_thread(self._load_tokenizer, self.info)  # it may have to be downloaded
