"""The servers that a `SpreadTransport` sends to: what the URL names, looked up again, in the order of choice.

This module sends no request to a server.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..address import Address
from ..window import Window
from .base import Transport
from .names import look_up

_FIRST_LOOK_UP_S = 5.0  # seconds that the first look-up may take
_LOOK_UP_S = 5.0  # seconds after which names are looked up again, if there are requests
_LOOK_UP_SOON_S = 1.0  # the same after a server did not answer


@dataclass(slots=True, eq=False)
class Server:
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

    def leave_out(self, seconds: float) -> None:
        """Give it no request that another server can take, for so long; then one request tries it."""
        self.left_out_until = asyncio.get_running_loop().time() + seconds

    @contextmanager
    def request(self) -> Iterator[Transport]:
        """Count a request that is on its way to it; gives the transport to send it with."""
        self.requests += 1
        try:
            yield self.transport
        finally:
            self.requests -= 1


class Servers:
    """The servers of a URL.

    Args:
        addresses: what the URL names, at least one. Each is a server, or a name of several.
        open_one: makes the transport to one server.
        concurrency: maximum number of requests on their way to one server.

    Attributes:
        current: the servers that get requests; none before `know` has looked names up.
    """

    def __init__(
        self, addresses: Sequence[Address], *, open_one: Callable[[Address], Transport], concurrency: int
    ) -> None:
        self._addresses = addresses
        self._open_one = open_one
        self._concurrency = concurrency
        self.current: list[Server] = []
        self._gone: list[Server] = []  # requests may still be on their way to them
        self._next = 0
        self._looking_up: asyncio.Task[None] | None = None
        self._looked_up_at = 0.0  # time of the loop, once it was done
        self._look_up_s = _LOOK_UP_S
        self._has_names = any(address.is_name for address in addresses)
        if not self._has_names:
            self._use(addresses)

    async def know(self, deadline: float) -> None:
        """Look names up if it is time; await the first look-up, at most until the deadline."""
        now = asyncio.get_running_loop().time()
        if not self._has_names:
            return
        if self._looking_up is None or (self._looking_up.done() and now >= self._looked_up_at + self._look_up_s):
            self._looking_up = asyncio.ensure_future(self._look_up())
        if not self.current:
            await asyncio.wait({self._looking_up}, timeout=min(max(deadline - now, 0.001), _FIRST_LOOK_UP_S))
        if not self.current:
            self._use(self._addresses)  # so that the protocol says what is wrong with the name

    def look_up_soon(self) -> None:
        """Look names up again with one of the next requests, because a server did not answer."""
        self._look_up_s = _LOOK_UP_SOON_S

    def in_order(self, model: str | None, counts: str | None) -> list[Server]:
        """Return the servers in the order in which a request tries them, without those that have another model.

        A server that hangs or is slow keeps its requests, so the fewest come first: otherwise it would soon have them
        all. Sorting is stable, so that servers with equally many take turns.

        Args:
            model: the model of the request; None for none.
            counts: the fingerprint that the model must have. A server that was not asked for it yet may have it.
        """
        now = asyncio.get_running_loop().time()
        servers = [each for each in self.current if each.fingerprints.get(model or "", counts) == counts]
        first = self._next % max(len(servers), 1)
        turned = servers[first:] + servers[:first]
        self._next = first + 1
        return sorted(turned, key=lambda each: (each.left_out_until > now, each.window.is_full, each.requests))

    async def close(self) -> None:
        """Close the connections to all of them."""
        if self._looking_up is not None:
            self._looking_up.cancel()
            await asyncio.gather(self._looking_up, return_exceptions=True)
        await asyncio.gather(*(server.transport.close() for server in (*self.current, *self._gone)))

    async def _look_up(self) -> None:
        """Look names up, use what is found, and close the connections to servers that are gone."""
        found = await asyncio.gather(*(look_up(address) for address in self._addresses))
        self._looked_up_at, self._look_up_s = asyncio.get_running_loop().time(), _LOOK_UP_S
        if any(found):
            known = [server.address for server in self.current]
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
        known = {server.address: server for server in self.current}
        self.current = [
            known[address] if address in known else Server(address, self._open_one(address), Window(self._concurrency))
            for address in dict.fromkeys(addresses)
        ]
        self._gone += [server for server in known.values() if server not in self.current]
