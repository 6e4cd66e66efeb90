"""Whether the gateway is ready: Triton reports that it is, and its models have lately given correct answers.

Triton reports a model as ready even if it answers with empty tensors, so a correct answer must have been seen lately.
Answers to the gateway's own requests count; only a gateway without recent ones sends a probe of one token. So probing a
busy gateway costs Triton nothing, and an idle one a token every ten seconds for each model, however often it is probed.
"""

import asyncio
import contextlib
import logging
from time import monotonic

from qwen3_client import Qwen3ClientError

from .engine import Engine
from .errors import ApiError

_log = logging.getLogger("qwen3_serve.gateway")

_TIMEOUT_S = 2.0  # a Triton that takes longer to report that it is ready counts as not ready
_ANSWER_MAX_AGE_S = 10.0  # for which a correct answer counts
_PENDING_PROBE_WAIT_S = 0.5  # for the next answer of models whose last answers were correct


class Readiness:
    """Whether requests would be answered. For one event loop.

    Args:
        engine: Asks Triton.
        max_age_s: Seconds for which a result is returned again without asking.
    """

    def __init__(self, engine: Engine, *, max_age_s: float) -> None:
        self._engine = engine
        self._max_age_s = max_age_s
        self._is_ready = False
        self._checked_at = float("-inf")
        self._checking = asyncio.Lock()
        self._answers_are_correct = False
        self._probe: asyncio.Task[None] | None = None

    async def is_ready(self) -> bool:
        """Return the last result, after a new check if that is too old."""
        async with self._checking:
            if monotonic() - self._checked_at > self._max_age_s:
                is_ready = await self._check()
                if self._is_ready and not is_ready:
                    _log.warning("no longer ready")
                self._is_ready = is_ready
                self._checked_at = monotonic()
            return self._is_ready

    async def close(self) -> None:
        """Cancel a probe that is not answered yet."""
        probe, self._probe = self._probe, None
        if probe is not None:
            probe.cancel()
            with contextlib.suppress(asyncio.CancelledError, Qwen3ClientError, ApiError):
                await probe

    async def _check(self) -> bool:
        try:
            triton_is_ready = await asyncio.wait_for(self._engine.is_ready(), _TIMEOUT_S)
        except (asyncio.TimeoutError, Qwen3ClientError):
            triton_is_ready = False
        if not triton_is_ready:
            self._answers_are_correct = False  # a Triton that comes back must answer correctly once more
            self._engine.forget_answers()
            return False
        if self._probe is None:
            self._probe = asyncio.create_task(self._engine.check_models(max_age_s=_ANSWER_MAX_AGE_S))
        # A probe may wait in Triton's queue behind long texts, which is no failure: until it is answered, the last
        # answers count.
        await asyncio.wait({self._probe}, timeout=_PENDING_PROBE_WAIT_S if self._answers_are_correct else _TIMEOUT_S)
        if self._probe.done():
            probe, self._probe = self._probe, None
            self._answers_are_correct = _succeeded(probe)
        return self._answers_are_correct


def _succeeded(probe: "asyncio.Task[None]") -> bool:
    try:
        probe.result()
    except (ApiError, Qwen3ClientError) as error:
        _log.warning("not ready: %s", error)
        return False
    return True
