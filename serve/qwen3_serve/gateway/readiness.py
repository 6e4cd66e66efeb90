"""Whether the gateway can work: Triton says that it would take requests, and its models gave answers that are right.

Triton calls a model ready that gives empty tensors, so an answer must have been seen, and lately. Answers to the
gateway's own requests count; only a gateway that had none for a while asks, about one token. So probing a busy gateway
costs Triton nothing, and an idle one a token every ten seconds for each model, however often it is probed.
"""

import asyncio
import contextlib
import logging
from time import monotonic

from qwen3_client import Qwen3ClientError

from .engine import Engine
from .errors import Failure

__all__ = ["Readiness"]

_log = logging.getLogger("qwen3_serve.gateway")

_SAID_S = 2.0  # a Triton that takes longer to say that it is ready is not
_SEEN_S = 10.0  # for which a right answer is believed
_KNOWN_GOOD_S = 0.5  # that a probe waits for the next answer of models that were right before


class Readiness:
    """Whether requests would be answered, found out no more often than need be. For one event loop.

    Args:
        engine: the way to Triton.
        believed_s: seconds for which a verdict is believed.
    """

    def __init__(self, engine: Engine, *, believed_s: float) -> None:
        self._engine = engine
        self._believed_s = believed_s
        self._is_ready = False
        self._decided_at = float("-inf")
        self._deciding = asyncio.Lock()
        self._answers_are_right = False
        self._trial: asyncio.Task[None] | None = None

    async def is_ready(self) -> bool:
        """Says what is known, after asking if that is too old."""
        async with self._deciding:
            if monotonic() - self._decided_at > self._believed_s:
                is_ready = await self._would_answer()
                if self._is_ready and not is_ready:
                    _log.warning("no longer ready")
                self._is_ready = is_ready
                self._decided_at = monotonic()
            return self._is_ready

    async def close(self) -> None:
        """Gives up what is under way."""
        trial, self._trial = self._trial, None
        if trial is not None:
            trial.cancel()
            with contextlib.suppress(asyncio.CancelledError, Qwen3ClientError, Failure):
                await trial

    async def _would_answer(self) -> bool:
        try:
            would_take = await asyncio.wait_for(self._engine.is_ready(), _SAID_S)
        except (asyncio.TimeoutError, Qwen3ClientError):
            would_take = False
        if not would_take:
            self._answers_are_right = False  # the Triton that comes back has to show it anew
            self._engine.forget_answers()
            return False
        if self._trial is None:
            self._trial = asyncio.create_task(self._engine.try_models(believed_s=_SEEN_S))
        # One that waits in Triton's queue behind long texts is no bad sign: until it comes back, the last one counts.
        await asyncio.wait({self._trial}, timeout=_KNOWN_GOOD_S if self._answers_are_right else _SAID_S)
        if self._trial.done():
            trial, self._trial = self._trial, None
            self._answers_are_right = _came_right(trial)
        return self._answers_are_right


def _came_right(trial: "asyncio.Task[None]") -> bool:
    try:
        trial.result()
    except (Failure, Qwen3ClientError) as error:
        _log.warning("not ready: %s", error)
        return False
    return True
