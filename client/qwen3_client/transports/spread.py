"""The transport over several servers, each of which has a transport and a window of its own.

This module knows nothing about protocols. The retries here go from one server to another at once; `Session` waits and
tries again when no server answers.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..address import Address
from ..contract import string_parameters
from ..errors import (
    ConnectionLostError,
    ContractMismatchError,
    Qwen3ClientError,
    ServerOverloadedError,
    ServerTimeoutError,
    ServerUnavailableError,
    UnknownModelError,
)
from ..fingerprint import fingerprint_of
from ..options import Priority
from .base import Outputs, Transport
from .failures import error_for
from .servers import Server, Servers

_T = TypeVar("_T")

_log = logging.getLogger("qwen3_client")

_UNAVAILABLE_S = 1.0  # seconds for which a server that did not answer is left out
_OVERLOADED_S = 0.05  # and one whose queue is full, which other servers' queues need not be
_ASK_S = 5.0  # seconds that reading the config of a model may take


class SpreadTransport:
    """A `Transport` over several servers.

    A request goes to the server with the fewest on their way to it, in turn among those with equally many. Each server
    has a window of its own: one whose queue was full gets fewer requests, and the others take its turns while its
    window is full.

    A server that is unavailable, or whose queue is full, is left out for a while, and its request goes to another one.
    One that times out is left out too. After that while, one request tries it.

    Names are looked up again every few seconds in which there are requests, and after a failure. A server that is new
    gets requests from then on; one that is gone gets no more, and those on their way to it are finished.

    Only servers whose model has the same fingerprint get requests for it: of those that answer when the client reads
    the model's config, as it does every few seconds, most, or the first where none is the more frequent.

    A single server, which a name may turn out to be, gets all requests as they come.

    Args:
        addresses: what the URL names, at least one. Each is a server, or a name of several.
        open_one: makes the transport to one server.
        concurrency: maximum number of requests on their way to one server.

    Attributes:
        servers: the servers.
    """

    def __init__(
        self, addresses: Sequence[Address], *, open_one: Callable[[Address], Transport], concurrency: int
    ) -> None:
        self.servers = Servers(addresses, open_one=open_one, concurrency=concurrency)
        self._fingerprints: dict[str, str | None] = {}  # of each model, the one that counts
        self._refused: dict[str, str] = {}  # of each model, what was last said about servers with another one

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
            priority=priority,
        )

    async def models(self, *, timeout_s: float) -> list[str]:
        """See `Transport.models`; of one of the servers."""
        return await self._sent(lambda server, remaining_s: server.models(timeout_s=remaining_s), timeout_s=timeout_s)

    async def model_config(self, model: str, *, timeout_s: float) -> dict[str, Any]:
        """See `Transport.model_config`; of a server whose model counts, after all that may answer were asked.

        A server that failed is not asked again here, as long as others are left: a request that tries it asks it.
        """
        deadline = asyncio.get_running_loop().time() + min(timeout_s, _ASK_S)
        await self.servers.know(deadline)
        if len(self.servers.current) == 1:
            return await self._sent(
                lambda server, remaining_s: server.model_config(model, timeout_s=remaining_s), timeout_s=timeout_s
            )
        may_answer = [
            server for server in self.servers.current if not server.left_out_until or model in server.fingerprints
        ] or self.servers.current
        asked = [asyncio.ensure_future(self._asked(server, model, deadline=deadline)) for server in may_answer]
        configs = await asyncio.gather(*asked, return_exceptions=True)
        found = [config for config in configs if isinstance(config, dict)]
        if not found:
            failures = [each for each in configs if isinstance(each, BaseException)]
            raise next((each for each in failures if not isinstance(each, ServerUnavailableError)), failures[0])
        fingerprints = [_fingerprint(config) for config in found]
        self._fingerprints[model] = max(fingerprints, key=fingerprints.count)  # the first of equally frequent ones
        self._warn_of_others(model)
        return found[fingerprints.index(self._fingerprints[model])]

    async def _asked(self, server: Server, model: str, *, deadline: float) -> dict[str, Any]:
        """Return a model's config on one server, and remember its fingerprint."""
        remaining_s = max(deadline - asyncio.get_running_loop().time(), 0.001)
        try:
            with server.request() as transport:
                config = await transport.model_config(model, timeout_s=remaining_s)
        except Qwen3ClientError as error:
            server.fingerprints.pop(model, None)
            if isinstance(error, (ServerTimeoutError, ServerUnavailableError)):
                server.leave_out(_UNAVAILABLE_S)
            raise
        server.fingerprints[model] = _fingerprint(config)
        return config

    async def _has_another(self, server: Server, model: str, *, deadline: float) -> bool:
        """Return whether a server's model is another one than that which counts; a server that is new is asked.

        Raises:
            ServerUnavailableError: it does not say so soon, and there is time to try another server.
            ServerTimeoutError: it does not say so before the deadline.
        """
        if model not in server.fingerprints:
            soon = asyncio.get_running_loop().time() + _ASK_S
            try:
                await self._asked(server, model, deadline=min(deadline, soon))
            except ServerTimeoutError as error:
                if soon >= deadline:
                    raise
                said = f"no answer within {_ASK_S:g} s"
                raise error_for("UNAVAILABLE", said, address=server.address, timeout_s=_ASK_S) from error
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
            for server in self.servers.current
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
        await self.servers.know(asyncio.get_running_loop().time() + timeout_s)
        for server in list(self.servers.current):
            with server.request() as transport:
                await transport.load(model, timeout_s=timeout_s)

    async def close(self) -> None:
        """See `Transport.close`."""
        await self.servers.close()

    async def _sent(
        self,
        send: Callable[[Transport, float], Awaitable[_T]],
        *,
        timeout_s: float,
        model: str | None = None,
        priority: Priority | None = None,
    ) -> _T:
        """Send a request to a server, and to others as long as they are unavailable or overloaded.

        Args:
            send: sends it, given a transport and its time-out in seconds.
            timeout_s: seconds for all servers together.
            model: the model that must be the same on the server as on the others; None for none.
            priority: which requests go first where some wait for the window of a server; None to need no permit.

        Raises:
            ContractMismatchError: every server has another model.
            ServerOverloadedError: no server took it, and the queue of one of them is full.
            ServerTimeoutError: the time was over before a server could take it.
            ServerUnavailableError: all servers are unavailable, or some are and the others lack the model.
            UnknownModelError: no server that answers has the model.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout_s
        await self.servers.know(deadline)
        if len(self.servers.current) == 1:
            (server,) = self.servers.current
            try:
                with server.request() as transport:
                    return await send(transport, max(deadline - clock(), 0.001))
            except ServerUnavailableError:
                self.servers.look_up_soon()
                raise
        failure: ServerOverloadedError | ServerUnavailableError | None = None
        unknown: UnknownModelError | None = None
        for server in self.servers.in_order(model, self._fingerprints.get(model or "")):
            if server not in self.servers.current:  # it left the name while another one was tried, and may be closed
                said = f"{server.address} left the name while the request was on its way; send it again"
                failure = failure or ServerUnavailableError(said)
                continue
            if server.left_out_until:
                server.leave_out(_UNAVAILABLE_S)  # until this request knows more
            try:
                if model is not None and await self._has_another(server, model, deadline=deadline):
                    continue
                with server.request():
                    answer = await self._permitted(server, send, deadline=deadline, priority=priority)
            except ServerOverloadedError as error:
                server.leave_out(_OVERLOADED_S)
                failure = error
            except ServerUnavailableError as error:
                server.leave_out(_UNAVAILABLE_S)
                server.fingerprints.clear()  # it may come back with other models
                self.servers.look_up_soon()
                # The session resends at once what was lost with an idle connection.
                if failure is None or (
                    isinstance(error, ConnectionLostError) and isinstance(failure, ServerUnavailableError)
                ):
                    failure = error
            except UnknownModelError as error:  # as Triton answers while it starts
                server.leave_out(_UNAVAILABLE_S)
                server.fingerprints.clear()
                unknown = unknown or error
            except ServerTimeoutError:
                server.leave_out(_UNAVAILABLE_S)
                raise
            else:
                server.left_out_until = 0.0
                return answer
        if failure is None and unknown is not None:
            raise unknown
        others = "" if model is None else self._others(model)
        if failure is None:  # all have another model
            raise ContractMismatchError(f"{others}; load the same model on all servers")
        if others:
            raise failure.saying(f"{failure.args[0]}; {others}") from failure
        raise failure

    async def _permitted(
        self,
        server: Server,
        send: Callable[[Transport, float], Awaitable[_T]],
        *,
        deadline: float,
        priority: Priority | None,
    ) -> _T:
        """Send a request as soon as the window of the server permits it."""
        clock = asyncio.get_running_loop().time
        if priority is None:
            return await send(server.transport, max(deadline - clock(), 0.001))
        remaining_s = max(deadline - clock(), 0.001)
        try:
            permit = await server.window.enter(priority, timeout_s=remaining_s)
        except asyncio.TimeoutError as error:
            raise error_for("DEADLINE_EXCEEDED", "", address=server.address, timeout_s=remaining_s) from error
        try:
            answer = await send(server.transport, max(deadline - clock(), 0.001))
        except ServerOverloadedError:
            server.window.shrink(permit)
            raise
        else:
            server.window.grow()
            return answer
        finally:
            server.window.leave()


def _fingerprint(config: Mapping[str, Any]) -> str | None:
    return fingerprint_of(string_parameters(config))
