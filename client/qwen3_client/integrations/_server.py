"""An adapter's way to its server: the caller's client, or clients of its own.

A library asks for one object with synchronous and asynchronous methods, so an adapter holds both clients, over one
connection. This module knows nothing about the libraries.
"""

import operator
from functools import partial
from typing import Any, Literal, SupportsIndex, TypeVar

from ..async_client import AsyncClient
from ..client import Client
from ..contract import MIN_DIMENSIONS
from ..credentials import Tls
from ..errors import InvalidInputError
from ..inputs import checked_text

__all__ = ["TIMEOUT_S", "Server", "checked_options"]

_ClientT = TypeVar("_ClientT", Client, AsyncClient)

TIMEOUT_S = 300.0  # as for the client


class Server:
    """Both clients of one server. Nothing is sent before the first call.

    Pickled, it is its options: the copy opens a connection of its own.

    Args:
        url: where the server is; None when a client is given.
        client: the caller's client, of either kind, which stays the caller's to close; None to open one.
        task: what the server's model does.
        model: name of the model on the server; None for the only one of its kind.
        tokenizer: folder that holds the model's tokenizer.json, or Hub id; by default the one the server names.
        timeout_s: seconds that each request may take.
        tls: certificates.
        token: bearer token.

    Attributes:
        client: for calls that wait.
        async_client: the same connection, for calls that are awaited.

    Raises:
        InvalidInputError: neither `url` nor `client` is given, or both, or an option cannot be used.
    """

    def __init__(
        self,
        url: str | None,
        *,
        client: Client | AsyncClient | None,
        task: Literal["embed", "rank"],
        model: str | None,
        tokenizer: str | None,
        timeout_s: float,
        tls: Tls | None,
        token: str | None,
    ) -> None:
        self._reopen: partial[Server] | None = None
        if client is None:
            if url is None:
                raise InvalidInputError("give either url=, such as 'localhost:8001', or client=, a ready client")
            self._reopen = partial(
                Server,
                url,
                client=None,
                task=task,
                model=model,
                tokenizer=tokenizer,
                timeout_s=timeout_s,
                tls=tls,
                token=token,
            )
            client = Client(
                url,
                model=model if task == "embed" else None,
                tokenizer=tokenizer if task == "embed" else None,
                reranker=model if task == "rank" else None,
                reranker_tokenizer=tokenizer if task == "rank" else None,
                timeout_s=timeout_s,
                tls=tls,
                token=token,
            )
        else:
            options = {"url": url, "model": model, "tokenizer": tokenizer, "tls": tls, "token": token}
            given = [f"{name}=" for name, value in options.items() if value is not None]
            given += ["timeout_s="] if timeout_s != TIMEOUT_S else []
            if given:
                raise InvalidInputError(
                    f"a ready client takes no {', '.join(given)}: give that to the client, or leave out client="
                )
            if not isinstance(client, (Client, AsyncClient)):
                raise InvalidInputError(f"client must be a Client or an AsyncClient, not {type(client).__name__}")
        self.client: Client = client if isinstance(client, Client) else _twin(Client, client)
        self.async_client: AsyncClient = client if isinstance(client, AsyncClient) else _twin(AsyncClient, client)

    def __reduce__(self) -> tuple[Any, ...]:
        self.refuse_if_borrowed("pickled or copied")
        assert self._reopen is not None  # noqa: S101 - so the line above says
        return self._reopen, ()

    def refuse_if_borrowed(self, what: str) -> None:
        """Refuses what a client of the caller's cannot go through.

        Args:
            what: such as "pickled".

        Raises:
            InvalidInputError: the client is the caller's.
        """
        if self._reopen is None:
            raise InvalidInputError(f"an adapter around a ready client cannot be {what}: make it with url=")

    def close(self) -> None:
        """Closes the connection, unless it is the caller's. Closing again does nothing."""
        if self._reopen is not None:
            self.client.close()

    async def aclose(self) -> None:
        """The same, to be awaited."""
        if self._reopen is not None:
            await self.async_client.close()


def _twin(kind: type[_ClientT], client: Client | AsyncClient) -> _ClientT:
    """Returns the other kind of client over the same connection."""
    twin = kind.__new__(kind)  # its constructor would make a connection of its own
    twin._core = client._core
    return twin


def checked_options(*, instruction: str | None = None, dimensions: int | None = None, top_n: int | None = None) -> None:
    """Checks what can be checked of an adapter's options before the server is asked.

    Raises:
        InvalidInputError: the instruction is not a text, `dimensions` fits no model, or `top_n` asks for nothing.
    """
    if instruction is not None:
        checked_text(instruction, what="instruction")
    if dimensions is not None and not _is_whole(dimensions, least=MIN_DIMENSIONS):
        raise InvalidInputError(f"dimensions must be a whole number of at least {MIN_DIMENSIONS}, not {dimensions!r}")
    if top_n is not None and not _is_whole(top_n, least=1):
        raise InvalidInputError(f"top_n must be a whole number of at least 1, or None for all, not {top_n!r}")


def _is_whole(number: object, *, least: int) -> bool:
    return isinstance(number, SupportsIndex) and not isinstance(number, bool) and operator.index(number) >= least
