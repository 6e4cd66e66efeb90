"""The tokenizer with offsets of the served model, loaded when it is first needed, and used on another thread."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from qwen3_client import ModelInfo

from .token_offsets import OffsetTokenizer

_Result = TypeVar("_Result")


class OffsetTokenizers:
    """The tokenizer of the model that is served now. For one event loop, which it does not block.

    Args:
        source: Folder that holds the tokenizer.json, or Hub id; None for the one that the model names.
        special_tokens: Whether the client reads special tokens in texts as such.
    """

    def __init__(self, *, source: str | None, special_tokens: bool) -> None:
        self._source = source
        self._special_tokens = special_tokens
        self._loaded: tuple[str, OffsetTokenizer] | None = None  # the sha256 of its tokenizer.json, and the tokenizer

    async def tokens(
        self, info: ModelInfo, texts: Sequence[str], rows: Sequence[NDArray[np.int64]], *, has_prompt: bool
    ) -> list[list[dict[str, Any]]]:
        """Return the tokens of each text. See `OffsetTokenizer.tokens_of`.

        Raises:
            TokenizerUnavailableError: The tokenizer cannot be read or downloaded.
            ContractMismatchError: It is not the one that the model was exported with.
        """
        tokenizer = await self._load(info)
        return await _in_thread(lambda: tokenizer.tokens_of_all(texts, rows, has_prompt=has_prompt))

    async def texts(self, info: ModelInfo, rows: Sequence[Sequence[int]], *, skip_special_tokens: bool) -> list[str]:
        """Return the text of each list of token ids.

        Raises:
            TokenizerUnavailableError: The tokenizer cannot be read or downloaded.
            ContractMismatchError: It is not the one that the model was exported with.
        """
        tokenizer = await self._load(info)
        return await _in_thread(lambda: tokenizer.texts_of_all(rows, skip_special_tokens=skip_special_tokens))

    async def _load(self, info: ModelInfo) -> OffsetTokenizer:
        if self._loaded is None or self._loaded[0] != info.tokenizer_sha256:
            tokenizer = await asyncio.to_thread(
                OffsetTokenizer, info, source=self._source, special_tokens=self._special_tokens
            )
            self._loaded = info.tokenizer_sha256, tokenizer
        return self._loaded[1]


async def _in_thread(work: Callable[[], _Result]) -> _Result:
    """Do work on another thread. If this is cancelled, it ends when the work does, not before."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
