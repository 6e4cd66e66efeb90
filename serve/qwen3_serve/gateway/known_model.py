"""A model that Triton serves, as the gateway knows it: what it says about itself, and when it last answered.

This module knows nothing about texts.
"""

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Generic, TypeVar

from qwen3_client import ContractMismatchError, ModelInfo, RerankerInfo

from .errors import ApiError
from .inputs import unknown_model
from .names import is_name_of, public_name

_Info = TypeVar("_Info", ModelInfo, RerankerInfo)

_MAX_AGE_S = 1.0  # of what the client said about the model; the client asks Triton every few seconds


class KnownModel(Generic[_Info]):
    """The embedding model or the reranker. For one event loop.

    Args:
        ask: Asks the client about the model.
        noun: What to call it in an error.
        aliases: Further names that mean it.
    """

    def __init__(self, ask: Callable[[], Awaitable[_Info]], *, noun: str, aliases: tuple[str, ...]) -> None:
        self._ask: Callable[[], Awaitable[_Info]] = ask
        self._noun = noun
        self._aliases = aliases
        self._info: _Info | None = None
        self._asked_at = float("-inf")
        self._answered: tuple[str, float] | None = None  # the model's name, and when it gave its last correct answer

    async def info(self, name: str | None = None) -> _Info:
        """Return what the model says about itself.

        Args:
            name: The model's name in the request; None or "" where the request has none.

        Raises:
            ApiError: The name means another model, or Triton serves none that can be used.
            Qwen3ClientError: Triton does not answer.
        """
        info = self._info
        if info is None or monotonic() > self._asked_at + _MAX_AGE_S:
            try:
                info = self._info = await self._ask()
            except ContractMismatchError as error:
                raise ApiError(
                    "no_model", f"there is no {self._noun} here: Triton serves none that this gateway can use"
                ) from error
            self._asked_at = monotonic()
        if name and not is_name_of(name, info, aliases=self._aliases):
            raise unknown_model(name, known=[public_name(info), *self._aliases])
        return info

    async def info_if_served(self) -> _Info | None:
        """Return what the model says about itself, or None if Triton serves none of its kind."""
        try:
            return await self.info()
        except ApiError:
            return None

    def forget(self) -> None:
        """Forget what the model said about itself, so that the client is asked."""
        self._info = None

    def record_answer(self, info: _Info) -> None:
        """Record that the model gave a correct answer."""
        self._answered = info.name, monotonic()

    def forget_answer(self) -> None:
        """Forget when the model last answered."""
        self._answered = None

    def has_answered(self, info: _Info, *, max_age_s: float) -> bool:
        """Return whether the model gave a correct answer in the last `max_age_s` seconds."""
        name, at = self._answered or ("", float("-inf"))
        return name == info.name and monotonic() - at <= max_age_s
