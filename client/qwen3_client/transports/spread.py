"""The transport over several servers, each of which has a transport and a window of its own.

This module knows nothing about protocols. The retries here go from one server to another at once; `Session` waits and
tries again when no server answers.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from ..window import Window
from .base import Outputs, Transport
from .failures import error_for
from .names import look_up

_T = TypeVar("_T")

_log = logging.getLogger("qwen3_client")

_UNAVAILABLE_S = 1.0  # seconds for which a server that did not answer is left out
_OVERLOADED_S = 0.05  # and one whose queue is full, which other servers' queues need not be
_ASK_S = 5.0  # seconds that reading the config of a model, or the first look-up of a name, may take
_LOOK_UP_S = 5.0  # seconds after which names are looked up again, if there are requests
_LOOK_UP_SOON_S = 1.0  # the same after a server did not answer


@dataclass(slots=True, eq=False)
class _Server:
    """One of the servers.

    Attributes:
        address: where it is.
        transport: what carries requests to it.
        window: how many requests it may have at once.
        left_out_until: time of the loop before which it gets no request that another server can take; 0 if its last
            request succeeded.
        fingerprints: the fingerprint of each model that it was asked about, by name; None for a model without one.
        requests: how many requests of any kind are on their way to it.
    """

    address: Address
    transport: Transport
    window: Window
    left_out_until: float = 0.0
    fingerprints: dict[str, str | None] = field(default_factory=dict)
    requests: int = 0


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
    """

    def __init__(
        self, addresses: Sequence[Address], *, open_one: Callable[[Address], Transport], concurrency: int
    ) -> None:
        self._addresses = addresses
        self._open_one = open_one
        self._concurrency = concurrency
        self._servers: list[_Server] = []
        self._gone: list[_Server] = []  # requests may still be on their way to them
        self._fingerprints: dict[str, str | None] = {}  # of each model, the one that counts
        self._refused: dict[str, str] = {}  # of each model, what was last said about servers with another one
        self._next = 0
        self._looking_up: asyncio.Task[None] | None = None
        self._looked_up_at = 0.0  # time of the loop, once it was done
        self._look_up_s = _LOOK_UP_S
        self._has_names = any(address.is_name for address in addresses)
        if not self._has_names:
            self._use(addresses)

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
        await self._know_servers(deadline)
        if len(self._servers) == 1:
            return await self._sent(
                lambda server, remaining_s: server.model_config(model, timeout_s=remaining_s), timeout_s=timeout_s
            )
        may_answer = [
            server for server in self._servers if not server.left_out_until or model in server.fingerprints
        ] or self._servers
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

    async def _asked(self, server: _Server, model: str, *, deadline: float) -> dict[str, Any]:
        """Return a model's config on one server, and remember its fingerprint."""
        remaining_s = max(deadline - asyncio.get_running_loop().time(), 0.001)
        try:
            with _request(server):
                config = await server.transport.model_config(model, timeout_s=remaining_s)
        except Qwen3ClientError as error:
            server.fingerprints.pop(model, None)
            if isinstance(error, (ServerTimeoutError, ServerUnavailableError)):
                server.left_out_until = asyncio.get_running_loop().time() + _UNAVAILABLE_S
            raise
        server.fingerprints[model] = _fingerprint(config)
        return config

    async def _has_another(self, server: _Server, model: str, *, deadline: float) -> bool:
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
        await self._know_servers(asyncio.get_running_loop().time() + timeout_s)
        for server in list(self._servers):
            with _request(server):
                await server.transport.load(model, timeout_s=timeout_s)

    async def close(self) -> None:
        """See `Transport.close`."""
        if self._looking_up is not None:
            self._looking_up.cancel()
            await asyncio.gather(self._looking_up, return_exceptions=True)
        await asyncio.gather(*(server.transport.close() for server in (*self._servers, *self._gone)))

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
        await self._know_servers(deadline)
        if len(self._servers) == 1:
            (server,) = self._servers
            try:
                with _request(server):
                    return await send(server.transport, max(deadline - clock(), 0.001))
            except ServerUnavailableError:
                self._look_up_soon()
                raise
        failure: ServerOverloadedError | ServerUnavailableError | None = None
        unknown: UnknownModelError | None = None
        for server in self._order(clock(), model):
            if server not in self._servers:  # it left the name while another one was tried, and may be closed
                said = f"{server.address} left the name while the request was on its way; send it again"
                failure = failure or ServerUnavailableError(said)
                continue
            if server.left_out_until:
                server.left_out_until = clock() + _UNAVAILABLE_S  # until this request knows more
            try:
                if model is not None and await self._has_another(server, model, deadline=deadline):
                    continue
                with _request(server):
                    answer = await self._permitted(server, send, deadline=deadline, priority=priority)
            except ServerOverloadedError as error:
                server.left_out_until = clock() + _OVERLOADED_S
                failure = error
            except ServerUnavailableError as error:
                server.left_out_until = clock() + _UNAVAILABLE_S
                server.fingerprints.clear()  # it may come back with other models
                self._look_up_soon()
                # The session resends at once what was lost with an idle connection.
                if failure is None or (
                    isinstance(error, ConnectionLostError) and isinstance(failure, ServerUnavailableError)
                ):
                    failure = error
            except UnknownModelError as error:  # as Triton answers while it starts
                server.left_out_until = clock() + _UNAVAILABLE_S
                server.fingerprints.clear()
                unknown = unknown or error
            except ServerTimeoutError:
                server.left_out_until = clock() + _UNAVAILABLE_S
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
        server: _Server,
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

    async def _know_servers(self, deadline: float) -> None:
        """Look names up if it is time; await the first look-up, at most until the deadline."""
        now = asyncio.get_running_loop().time()
        if not self._has_names:
            return
        if self._looking_up is None or (self._looking_up.done() and now >= self._looked_up_at + self._look_up_s):
            self._looking_up = asyncio.ensure_future(self._look_up())
        if not self._servers:
            await asyncio.wait({self._looking_up}, timeout=min(max(deadline - now, 0.001), _ASK_S))
        if not self._servers:
            self._use(self._addresses)  # so that the protocol says what is wrong with the name

    def _look_up_soon(self) -> None:
        """Look names up again with one of the next requests, because a server did not answer."""
        self._look_up_s = _LOOK_UP_SOON_S

    async def _look_up(self) -> None:
        """Look names up, use what is found, and close the connections to servers that are gone."""
        found = await asyncio.gather(*(look_up(address) for address in self._addresses))
        self._looked_up_at, self._look_up_s = asyncio.get_running_loop().time(), _LOOK_UP_S
        if any(found):
            known = [server.address for server in self._servers]
            # What cannot be looked up now stays as it was.
            named = [
                servers or [each for each in known if (each.name or each.host, each.port) == (name.host, name.port)]
                for name, servers in zip(self._addresses, found, strict=True)
            ]
            self._use([server for servers in named for server in servers])
        idle = [server for server in self._gone if not server.requests]
        await asyncio.gather(*(server.transport.close() for server in idle))
        self._gone = [server for server in self._gone if server not in idle]  # now, as closing may be cancelled

    def _use(self, addresses: Sequence[Address]) -> None:
        """Use these servers: open what is new, and give no more requests to what is gone."""
        known = {server.address: server for server in self._servers}
        self._servers = [
            known[address] if address in known else _Server(address, self._open_one(address), Window(self._concurrency))
            for address in dict.fromkeys(addresses)
        ]
        self._gone += [server for server in known.values() if server not in self._servers]

    def _order(self, now: float, model: str | None) -> list[_Server]:
        """Return the servers in the order in which a request tries them, without those that have another model.

        A server that hangs or is slow keeps its requests, so the fewest come first: otherwise it would soon have them
        all. Sorting is stable, so that servers with equally many take turns.
        """
        counts = self._fingerprints.get(model or "")
        servers = [each for each in self._servers if each.fingerprints.get(model or "", counts) == counts]
        first = self._next % max(len(servers), 1)
        turned = servers[first:] + servers[:first]
        self._next = first + 1
        return sorted(turned, key=lambda each: (each.left_out_until > now, each.window.is_full, each.requests))


@contextmanager
def _request(server: _Server) -> Iterator[None]:
    """Count a request that is on its way to a server."""
    server.requests += 1
    try:
        yield
    finally:
        server.requests -= 1


def _fingerprint(config: Mapping[str, Any]) -> str | None:
    return fingerprint_of(string_parameters(config))
