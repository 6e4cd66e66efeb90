"""What callers choose: the server and how it is reached, and for each call the kind of text, its priority, its cut.

This module opens no connection.
"""

import math
import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

from .address import Address, parse_address
from .errors import InvalidInputError, RefusedError
from .inputs import checked_text

Kind: TypeAlias = Literal["query", "document"]
Priority: TypeAlias = Literal["interactive", "bulk"]
Truncate: TypeAlias = bool | Literal["start", "end"]  # True means "end"

DEFAULT_URL: Final = "localhost:8001"

# As Triton counts, where 1 goes first. A server whose config.pbtxt has no priority_levels takes no notice.
PRIORITY_LEVELS: Final[dict[Priority, int]] = {"interactive": 1, "bulk": 2}

_HEADER = re.compile(r"[a-z0-9_.-]+")  # what gRPC takes; HTTP takes more
_RESERVED = {
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "inference-header-content-length",
    "te",
    "transfer-encoding",
    "upgrade",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Certificates for `grpcs://` and `https://`, as paths of PEM files.

    Attributes:
        ca: certificates of the authorities that may vouch for the server; None for those that the system trusts.
        certificate: the client's own certificate with its chain, where the server asks for one (mTLS).
        key: its private key, not encrypted.

    Raises:
        InvalidInputError: a file cannot be read, or only one of certificate and key is given.
    """

    ca: str | os.PathLike[str] | None = None
    certificate: str | os.PathLike[str] | None = None
    key: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise InvalidInputError("certificate= and key= go together: give both, or neither")
        for name in ("ca", "certificate", "key"):
            path = getattr(self, name)
            if path is not None and not os.access(path, os.R_OK):
                raise InvalidInputError(
                    f"cannot read {name}={str(path)!r}: there is no such file, or this user may not read it"
                )

    def read(self, name: str) -> bytes | None:
        """Return the content of one of the files."""
        path = getattr(self, name)
        return None if path is None else Path(path).read_bytes()

    def context(self) -> ssl.SSLContext:
        """Return what Python's ssl makes of the files.

        Raises:
            RefusedError: a file is no PEM file of its kind.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except (ssl.SSLError, OSError) as error:
            raise RefusedError(f"cannot use the certificates of {self}: {error}") from error
        return context


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """How a client reaches its server. `Client` and `AsyncClient` take the same as arguments.

    Attributes:
        url: `host:8001` or `grpc://host:8001` for gRPC, `http://host:8000` for HTTP; `grpcs://` and `https://` for TLS.
        model: name of the embedding model on the server; None for the only one there.
        reranker: name of the reranker on the server; None for the only one there.
        tokenizer: folder that holds the embedding model's tokenizer.json, or Hub id; by default the one that the
            server names. One that differs from the server's is refused.
        reranker_tokenizer: the same for the reranker.
        timeout_s: seconds that each request may take once it was sent, its wait in the server's queue and all its
            tries included.
        retry_s: seconds for which a request is tried again that finds the server away or its queue full; 0 for never.
        concurrency: most requests on their way at once.
        tls: certificates, where the system's authorities are not enough.
        token: bearer token (RFC 6750), sent with every request.
        headers: more headers of every request; gRPC calls them metadata.

    Raises:
        InvalidInputError: one of them cannot be used.
    """

    url: str = DEFAULT_URL
    _: KW_ONLY
    model: str | None = None
    reranker: str | None = None
    tokenizer: str | os.PathLike[str] | None = None
    reranker_tokenizer: str | os.PathLike[str] | None = None
    timeout_s: float = 300.0
    retry_s: float = 60.0
    concurrency: int = 64
    tls: Tls | None = None
    token: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] | None = field(default=None, repr=False)  # they may hold secrets

    def __post_init__(self) -> None:
        address = self.address
        if not 0 < self.timeout_s < math.inf:
            raise InvalidInputError(f"timeout_s must be a positive number of seconds, not {self.timeout_s!r}")
        if not 0 <= self.retry_s < math.inf:
            raise InvalidInputError(
                f"retry_s must be a number of seconds, or 0 for no second try, not {self.retry_s!r}"
            )
        if self.concurrency < 1:
            raise InvalidInputError(f"concurrency must be at least 1, not {self.concurrency!r}")
        for option, name in (("model", self.model), ("reranker", self.reranker)):
            if name is not None:
                checked_text(name, what=option)
        if self.tls is not None and not address.is_secure:
            raise InvalidInputError(
                f"tls= needs an encrypted URL: {address.protocol}s://{address.host_and_port} instead of {address}"
            )
        self.request_headers()

    @property
    def address(self) -> Address:
        """The URL, taken apart."""
        return parse_address(self.url)

    def request_headers(self) -> dict[str, str]:
        """Return the headers of every request, the token among them, by their names in lower case.

        Raises:
            InvalidInputError: one cannot be sent.
        """
        named = {name.lower(): value for name, value in (self.headers or {}).items()}
        if self.token is not None:
            if "authorization" in named:
                raise InvalidInputError("token= and the header Authorization contradict each other: give one")
            named["authorization"] = f"Bearer {self.token}"
        for name, value in named.items():
            if not _HEADER.fullmatch(name) or name in _RESERVED or name.startswith("grpc-") or name.endswith("-bin"):
                raise InvalidInputError(f"cannot send a header {name!r}: it is no name, or the protocol's own")
            if not isinstance(value, str) or not (value.isascii() and value.isprintable()) or value != value.strip():
                raise InvalidInputError(f"cannot send the header {name!r}: its value must be printable ASCII")
        return named


def checked_kind(kind: Kind) -> Kind:
    """Return whether texts are queries or documents.

    Raises:
        InvalidInputError: it says neither.
    """
    if kind not in ("query", "document"):
        raise InvalidInputError(f"kind must be 'query' or 'document', not {kind!r}")
    return kind


def checked_priority(priority: Priority | None, *, default: Priority) -> Priority:
    """Return a priority, or the default in place of None.

    Raises:
        InvalidInputError: there is no such priority.
    """
    if priority is None:
        return default
    if priority not in PRIORITY_LEVELS:
        raise InvalidInputError(f"priority must be {' or '.join(map(repr, PRIORITY_LEVELS))}, not {priority!r}")
    return priority


def checked_truncate(truncate: Truncate) -> Truncate:
    """Return which part a text that is too long loses.

    Raises:
        InvalidInputError: it is none of the four values.
    """
    if truncate not in (True, False, "start", "end"):
        raise InvalidInputError(f"truncate must be True, False, 'start' or 'end', not {truncate!r}")
    return truncate
