"""The transport over several servers, each of which has a transport of its own.

This module knows nothing about protocols. The retries here go from one server to another at once; `Session` waits and
tries again when no server answers.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..contract import string_parameters
from ..errors import ContractMismatchError, Qwen3ClientError, ServerOverloadedError, ServerUnavailableError
from ..fingerprint import fingerprint_of
from ..options import Priority
from .base import Outputs, Transport

_T = TypeVar("_T")

_log = logging.getLogger("qwen3_client")

_UNAVAILABLE_S = 1.0  # seconds for which a server that did not answer is left out
_OVERLOADED_S = 0.05  # and one whose queue is full, which other servers' queues need not be
_ASK_S = 5.0  # seconds that reading the config of a model may take


@dataclass(slots=True)
class _Server:
    """One of the servers.

    Attributes:
        transport: what carries requests to it.
        left_out_until: time of the loop before which it gets no request that another server can take; 0 if its last
            request succeeded.
        fingerprints: the fingerprint of each model that it was asked about, by name; None for a model without one.
    """

    transport: Transport
    address: str
    left_out_until: float = 0.0
    fingerprints: dict[str, str | None] = field(default_factory=dict)


class SpreadTransport:
    """A `Transport` that gives each request to the next of several servers.

    A server that is unavailable, or whose queue is full, is left out for a while, and its request goes to another one.
    After that while, one request tries it.

    Only servers whose model has the same fingerprint get requests for it: of those that answer when the client reads
    the model's config, as it does every few seconds, most, or the first where none is the more frequent.

    Args:
        transports: one for each server, at least one.
        addresses: what to call the servers in messages.
    """

    def __init__(self, transports: Sequence[Transport], *, addresses: Sequence[str]) -> None:
        self._servers = [_Server(transport, address) for transport, address in zip(transports, addresses, strict=True)]
        self._fingerprints: dict[str, str | None] = {}  # of each model, the one that counts
        self._refused: dict[str, str] = {}  # of each model, what was last said about servers with another one
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
            model=model,
        )

    async def models(self, *, timeout_s: float) -> list[str]:
        """See `Transport.models`; of one of the servers."""
        return await self._sent(lambda server, remaining_s: server.models(timeout_s=remaining_s), timeout_s=timeout_s)

    async def model_config(self, model: str, *, timeout_s: float) -> dict[str, Any]:
        """See `Transport.model_config`; of a server whose model counts, after all servers were asked."""
        deadline = asyncio.get_running_loop().time() + min(timeout_s, _ASK_S)
        asked = [asyncio.ensure_future(self._asked(server, model, deadline=deadline)) for server in self._servers]
        configs = await asyncio.gather(*asked, return_exceptions=True)
        found = [config for config in configs if isinstance(config, dict)]
        if not found:
            failures = [each for each in configs if isinstance(each, BaseException)]
            raise next((each for each in failures if not isinstance(each, ServerUnavailableError)), failures[0])
        fingerprints = [_fingerprint(config) for config in found]
        self._fingerprints[model] = max(fingerprints, key=fingerprints.count)  # the first of equally frequent ones
        self._warn_of_others(model)
        return found[fingerprints.index(self._fingerprints[model])]

    async def _asked(self, server: _Server, model: str, *, deadline: float) -> dict[str, Any]:
        """Return a model's config on one server, and remember its fingerprint."""
        remaining_s = max(deadline - asyncio.get_running_loop().time(), 0.001)
        try:
            config = await server.transport.model_config(model, timeout_s=remaining_s)
        except Qwen3ClientError:
            server.fingerprints.pop(model, None)
            raise
        server.fingerprints[model] = _fingerprint(config)
        return config

    async def _has_another(self, server: _Server, model: str, *, deadline: float) -> bool:
        """Return whether a server's model is another one than that which counts; a server that is new is asked."""
        if model not in server.fingerprints:
            await self._asked(server, model, deadline=deadline)
        fingerprint = server.fingerprints[model]
        if self._fingerprints.setdefault(model, fingerprint) == fingerprint:
            return False
        self._warn_of_others(model)
        return True

    def _warn_of_others(self, model: str) -> None:
        """Log, once for each state, which servers are left out because their model is another one."""
        said = self._others(model)
        if said and self._refused.get(model) != said:
            _log.warning("%s; they get no requests until they have the same model", said)
        self._refused[model] = said

    def _others(self, model: str) -> str:
        """Return a clause that names the servers whose model is another one; "" if there is none."""
        counts = self._fingerprints.get(model)
        others = [
            f"{server.address} has {server.fingerprints[model]}"
            for server in self._servers
            if server.fingerprints.get(model, counts) != counts
        ]
        return f"the model {model!r} has the fingerprint {counts}, but {', '.join(others)}" if others else ""

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

    async def _sent(
        self, send: Callable[[Transport, float], Awaitable[_T]], *, timeout_s: float, model: str | None = None
    ) -> _T:
        """Send a request to the next server, and to others as long as they are unavailable or overloaded.

        Args:
            send: sends it, given a transport and its time-out in seconds.
            timeout_s: seconds for all servers together.
            model: the model that must be the same on the server as on the others; None for none.

        Raises:
            ContractMismatchError: every server has another model.
            ServerOverloadedError: no server took it, and the queue of one of them is full.
            ServerUnavailableError: all servers are unavailable.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout_s
        failure: ServerOverloadedError | ServerUnavailableError | None = None
        for server in self._order(clock(), model):
            if server.left_out_until:
                server.left_out_until = clock() + _UNAVAILABLE_S  # until this request knows more
            try:
                if model is not None and await self._has_another(server, model, deadline=deadline):
                    continue
                answer = await send(server.transport, max(deadline - clock(), 0.001))
            except ServerOverloadedError as error:
                server.left_out_until = clock() + _OVERLOADED_S
                failure = error
            except ServerUnavailableError as error:
                server.left_out_until = clock() + _UNAVAILABLE_S
                server.fingerprints.clear()  # it may come back with other models
                failure = failure or error
            else:
                server.left_out_until = 0.0
                return answer
        others = "" if model is None else self._others(model)
        if failure is None:  # no server was asked
            raise ContractMismatchError(f"{others}; load the same model on all servers")
        if others:
            raise failure.saying(f"{failure.args[0]}; {others}") from failure
        raise failure

    def _order(self, now: float, model: str | None) -> list[_Server]:
        """Return the servers from the next one on, those that are left out last, and none with another model."""
        counts = self._fingerprints.get(model or "")
        servers = [each for each in self._servers if each.fingerprints.get(model or "", counts) == counts]
        first = self._next % max(len(servers), 1)
        turned = servers[first:] + servers[:first]
        self._next = first + 1
        return sorted(turned, key=lambda server: server.left_out_until > now)


def _fingerprint(config: Mapping[str, Any]) -> str | None:
    return fingerprint_of(string_parameters(config))
