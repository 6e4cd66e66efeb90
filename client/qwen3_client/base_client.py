"""The constructors that `Client` and `AsyncClient` share: from arguments, or from one `ClientOptions`.

This module knows nothing about texts or requests.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from .options import DEFAULT_URL, ClientOptions, Tls
from .transports.base import Transport

_ClientT = TypeVar("_ClientT", bound="BaseClient")


class BaseClient(ABC):
    """The base class of both clients.

    Args:
        transport: what carries the requests, such as a `FakeTransport` in tests; None to connect to `url`.

    The other arguments are those of `ClientOptions`.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        model: str | None = None,
        reranker: str | None = None,
        tokenizer: str | os.PathLike[str] | None = None,
        reranker_tokenizer: str | os.PathLike[str] | None = None,
        special_tokens: bool = False,
        expected_fingerprint: str | None = None,
        expected_reranker_fingerprint: str | None = None,
        timeout_s: float = 300.0,
        retry_s: float = 60.0,
        concurrency: int = 64,
        tls: Tls | None = None,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        transport: Transport | None = None,
    ) -> None:
        options = ClientOptions(
            url,
            model=model,
            reranker=reranker,
            tokenizer=tokenizer,
            reranker_tokenizer=reranker_tokenizer,
            special_tokens=special_tokens,
            expected_fingerprint=expected_fingerprint,
            expected_reranker_fingerprint=expected_reranker_fingerprint,
            timeout_s=timeout_s,
            retry_s=retry_s,
            concurrency=concurrency,
            tls=tls,
            token=token,
            headers=headers,
        )
        self._open(options, transport)

    @classmethod
    def from_options(cls: type[_ClientT], options: ClientOptions, *, transport: Transport | None = None) -> _ClientT:
        """Return a client with these options.

        Args:
            options: the server and how to reach it.
            transport: what carries the requests; None to connect to the server that `options` name.
        """
        client = cls.__new__(cls)
        client._open(options, transport)
        return client

    def __reduce__(self) -> tuple[Callable[[type["BaseClient"], ClientOptions], "BaseClient"], tuple[Any, ...]]:
        """Return how to make the client again from its options, for pickle and copy: with connections of its own.

        The pickle holds the token and the headers, if there are any.

        Raises:
            InvalidInputError: the client was given a `transport`, which belongs to this process.
        """
        options = self._picklable_options()
        headers = None if options.headers is None else dict(options.headers)
        return _opened, (type(self), replace(options, headers=headers))

    @abstractmethod
    def _picklable_options(self) -> ClientOptions:
        """Return the options of the client.

        Raises:
            InvalidInputError: they are not all that the client was made with.
        """

    @abstractmethod
    def _open(self, options: ClientOptions, transport: Transport | None) -> None: ...


def _opened(kind: type[BaseClient], options: ClientOptions) -> BaseClient:
    return kind.from_options(options)
