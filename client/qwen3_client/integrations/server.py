"""The server of an integration, reached with the caller's client or with one that the integration opens.

Libraries expect one object with synchronous and asynchronous methods, so an integration holds both clients, which share
one connection. This module knows nothing about the libraries.
"""

import operator
import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import TracebackType
from typing import Any, SupportsIndex, TypeVar

from ..async_client import AsyncClient
from ..client import Client
from ..errors import InvalidInputError
from ..inputs import checked_text
from ..mrl import MIN_DIMENSIONS
from ..options import ClientOptions, Tls

_ConnectedT = TypeVar("_ConnectedT", bound="Connected")


class Server:
    """A synchronous and an asynchronous client of one server. Nothing is sent before the first call.

    A copy opens a connection of its own, and so does an unpickled object.

    Args:
        server: URL of the server, or the options of its client; None if a client is given.
        client: the caller's client, of either kind, which is not closed here; None to open one.

    Attributes:
        options: the options of the client that this object opened; None if the client is the caller's.
        client: the client for synchronous calls.
        async_client: the client for asynchronous calls, over the same connection.

    Raises:
        InvalidInputError: neither `server` nor `client` is given, or both, or one of them cannot be used.
    """

    def __init__(self, server: str | ClientOptions | None, *, client: Client | AsyncClient | None = None) -> None:
        self.options = checked_server(server, client=client)
        if client is None:
            assert self.options is not None  # noqa: S101 - as the line above checked
            client = Client.from_options(self.options)
        self.client = client if isinstance(client, Client) else Client.over(client)
        self.async_client = self.client.async_client

    def __reduce__(self) -> tuple[Any, ...]:
        self.refuse_if_borrowed("pickled or copied")
        return Server, (self.options,)

    def refuse_if_borrowed(self, what: str) -> None:
        """Raise an error if the client is the caller's.

        Args:
            what: what cannot be done with the integration then, such as "pickled".

        Raises:
            InvalidInputError: the client is the caller's.
        """
        if self.options is None:
            raise InvalidInputError(
                f"an integration with client= cannot be {what}: make it with server=, a URL or ClientOptions"
            )

    def close(self) -> None:
        """Close the connection, unless it is the caller's. Closing again does nothing."""
        if self.options is not None:
            self.client.close()

    async def aclose(self) -> None:
        """Close as `close` does, without blocking the event loop."""
        if self.options is not None:
            await self.async_client.close()


class Connected:
    """The base of classes that hold a `Server`, which makes them closable and context managers."""

    _server: Server

    def __enter__(self: _ConnectedT) -> _ConnectedT:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, unless the client was given."""
        self._server.close()

    async def aclose(self) -> None:
        """Close as `close` does, without blocking the event loop."""
        await self._server.aclose()


def checked_server(
    server: str | ClientOptions | None, *, client: Client | AsyncClient | None = None
) -> ClientOptions | None:
    """Return the options of the client to open, after checking them; None if the caller gives a client.

    Raises:
        InvalidInputError: neither `server` nor `client` is given, or both, or one of them cannot be used.
    """
    if client is not None:
        if server is not None:
            raise InvalidInputError(
                "server= and client= contradict each other: a client already has its server, so give one of them"
            )
        if not isinstance(client, Client | AsyncClient):
            raise InvalidInputError(f"client must be a Client or an AsyncClient, not {type(client).__name__}")
        return None
    if server is None:
        raise InvalidInputError(
            "give either server=, a URL such as 'localhost:8001' or ClientOptions, or client=, a Client or AsyncClient"
        )
    if isinstance(server, Client | AsyncClient):
        raise InvalidInputError(f"server must be a URL or ClientOptions: pass the {type(server).__name__} as client=")
    if not isinstance(server, str | ClientOptions):
        raise InvalidInputError(f"server must be a URL or ClientOptions, not {type(server).__name__}")
    return ClientOptions(server) if isinstance(server, str) else server


def without_secrets(server: str | ClientOptions | None) -> str | dict[str, Any] | None:
    """Return a URL as it is, and options as a dict for YAML or JSON, without those that may be secret.

    Options that are None are left out too.
    """
    plain: str | dict[str, Any] | None = _plain(server)
    return plain


def secrets_of(options: ClientOptions) -> list[str]:
    """Return the names of the given options that `without_secrets` leaves out."""
    return [field.name for field in fields(options) if not field.repr and getattr(options, field.name)]


def options_from(plain: Mapping[str, Any]) -> ClientOptions:
    """Return the options that `without_secrets` turned into a dict.

    Raises:
        InvalidInputError: an option cannot be used.
    """
    tls = plain.get("tls")
    return ClientOptions(**{**plain, "tls": None if tls is None else Tls(**tls)})


def check_arguments(*, instruction: str | None = None, dimensions: int | None = None, top_n: int | None = None) -> None:
    """Check the arguments of an integration, as far as that is possible without asking the server.

    Raises:
        InvalidInputError: the instruction is not a text, `dimensions` is too small for any model, or `top_n` is less
            than 1.
    """
    if instruction is not None:
        checked_text(instruction, what="instruction")
    if dimensions is not None and not _is_whole(dimensions, least=MIN_DIMENSIONS):
        raise InvalidInputError(f"dimensions must be a whole number of at least {MIN_DIMENSIONS}, not {dimensions!r}")
    if top_n is not None and not _is_whole(top_n, least=1):
        raise InvalidInputError(f"top_n must be a whole number of at least 1, or None for all, not {top_n!r}")


def _is_whole(number: object, *, least: int) -> bool:
    return isinstance(number, SupportsIndex) and not isinstance(number, bool) and operator.index(number) >= least


def _plain(value: Any) -> Any:  # noqa: ANN401 - the value of an option, of any type
    if is_dataclass(value):
        given = ((field.name, getattr(value, field.name)) for field in fields(value) if field.repr)  # no secrets
        return {name: _plain(option) for name, option in given if option is not None}
    return os.fspath(value) if isinstance(value, os.PathLike) else value
