"""The transport over several servers, each of which has a transport of its own.

This module knows nothing about protocols. The retries here go from one server to another at once; `Session` waits and
tries again when no server answers.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import ServerOverloadedError, ServerUnavailableError
from ..options import Priority
from .base import Outputs, Transport

_T = TypeVar("_T")

_UNAVAILABLE_S = 1.0  # seconds for which a server that did not answer is left out
_OVERLOADED_S = 0.05  # and one whose queue is full, which other servers' queues need not be


@dataclass(slots=True)
class _Server:
    """One of the servers.

    Attributes:
        transport: what carries requests to it.
        left_out_until: time of the loop before which it gets no request that another server can take; 0 if its last
            request succeeded.
    """

    transport: Transport
    left_out_until: float = 0.0


class SpreadTransport:
    """A `Transport` that gives each request to the next of several servers.

    A server that is unavailable, or whose queue is full, is left out for a while, and its request goes to another one.
    After that while, one request tries it.

    Args:
        transports: one for each server, at least one.
    """

    def __init__(self, transports: Sequence[Transport]) -> None:
        self._servers = [_Server(transport) for transport in transports]
        self._next = 0

    async def infer(
        self,
        model: str,
        input_ids: NDArray[np.int64],
        *,
        outputs: Sequence[str],
        priority: Priority,
        timeout_s: float,
    ) -> Outputs:
        """See `Transport.infer`."""
        return await self._sent(
            lambda server, remaining_s: server.infer(
                model, input_ids, outputs=outputs, priority=priority, timeout_s=remaining_s
            ),
            timeout_s=timeout_s,
        )

    async def models(self, *, timeout_s: float) -> list[str]:
        """See `Transport.models`; of one of the servers."""
        return await self._sent(lambda server, remaining_s: server.models(timeout_s=remaining_s), timeout_s=timeout_s)

    async def model_config(self, model: str, *, timeout_s: float) -> dict[str, Any]:
        """See `Transport.model_config`; of one of the servers."""
        return await self._sent(
            lambda server, remaining_s: server.model_config(model, timeout_s=remaining_s), timeout_s=timeout_s
        )

    async def is_ready(self, model: str, *, timeout_s: float) -> bool:
        """See `Transport.is_ready`; of one of the servers."""
        return await self._sent(
            lambda server, remaining_s: server.is_ready(model, timeout_s=remaining_s), timeout_s=timeout_s
        )

    async def index(self, *, timeout_s: float) -> list[dict[str, Any]]:
        """See `Transport.index`; of one of the servers."""
        return await self._sent(lambda server, remaining_s: server.index(timeout_s=remaining_s), timeout_s=timeout_s)

    async def server_version(self, *, timeout_s: float) -> str:
        """See `Transport.server_version`; of one of the servers."""
        return await self._sent(
            lambda server, remaining_s: server.server_version(timeout_s=remaining_s), timeout_s=timeout_s
        )

    async def is_server_ready(self, *, timeout_s: float) -> bool:
        """See `Transport.is_server_ready`; of one of the servers."""
        return await self._sent(
            lambda server, remaining_s: server.is_server_ready(timeout_s=remaining_s), timeout_s=timeout_s
        )

    async def load(self, model: str, *, timeout_s: float) -> None:
        """See `Transport.load`; one server after another, so that the others answer meanwhile."""
        for server in self._servers:
            await server.transport.load(model, timeout_s=timeout_s)

    async def close(self) -> None:
        """See `Transport.close`."""
        await asyncio.gather(*(server.transport.close() for server in self._servers))

    async def _sent(self, send: Callable[[Transport, float], Awaitable[_T]], *, timeout_s: float) -> _T:
        """Send a request to the next server, and to others as long as they are unavailable or overloaded.

        Raises:
            ServerOverloadedError: no server took it, and the queue of one of them is full.
            ServerUnavailableError: all servers are unavailable.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout_s
        failure: ServerOverloadedError | ServerUnavailableError | None = None
        for server in self._order(clock()):
            if server.left_out_until:
                server.left_out_until = clock() + _UNAVAILABLE_S  # until this request knows more
            try:
                answer = await send(server.transport, max(deadline - clock(), 0.001))
            except ServerOverloadedError as error:
                server.left_out_until = clock() + _OVERLOADED_S
                failure = error
            except ServerUnavailableError as error:
                server.left_out_until = clock() + _UNAVAILABLE_S
                failure = failure or error
            else:
                server.left_out_until = 0.0
                return answer
        assert failure is not None  # noqa: S101 - there is at least one server
        raise failure

    def _order(self, now: float) -> list[_Server]:
        """Return the servers from the next one on, those that are left out last."""
        turned = self._servers[self._next :] + self._servers[: self._next]
        self._next = (self._next + 1) % len(self._servers)
        return sorted(turned, key=lambda server: server.left_out_until > now)
