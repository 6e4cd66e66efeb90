"""The options of the client: the server and how to reach it, and for a call the kind of text, priority and truncation.

This module opens no connection and knows nothing about the served models.
"""

import math
import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

from .address import Address, parse_addresses
from .errors import InvalidInputError, RefusedError
from .fingerprint import DIGITS, is_fingerprint
from .inputs import checked_text

Kind: TypeAlias = Literal["query", "document"]
Priority: TypeAlias = Literal["interactive", "bulk"]
Truncate: TypeAlias = bool | Literal["start", "end"]  # True means "end"

DEFAULT_URL: Final = "localhost:8001"

# As Triton counts, 1 goes first. A server whose config.pbtxt has no priority_levels ignores the priority.
PRIORITY_LEVELS: Final[dict[Priority, int]] = {"interactive": 1, "bulk": 2}

_HEADER = re.compile(r"[a-z0-9_.-]+")  # the names that gRPC accepts; HTTP accepts more
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
    """The certificates for `grpcs://` and `https://`, as paths of PEM files.

    Attributes:
        ca: certificates of the certificate authorities to trust; None for those that the system trusts.
        certificate: the client's own certificate with its chain, if the server asks for one (mTLS).
        key: the private key of `certificate`, not encrypted.

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
        """Return the content of the file that an attribute names; None if that attribute is None."""
        path = getattr(self, name)
        return None if path is None else Path(path).read_bytes()

    def context(self) -> ssl.SSLContext:
        """Return an SSL context of Python's `ssl` with these certificates.

        Raises:
            RefusedError: a file is not a PEM file of its kind.
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
    """The options with which a client reaches its server, the same as the arguments of `Client` and `AsyncClient`.

    Attributes:
        url: `host:8001` or `grpc://host:8001` for gRPC, `http://host:8000` for HTTP; `grpcs://` and `https://` for TLS.
            Several servers with the same models are a list, `a:8001,b:8001`, or a name with several addresses;
            requests are spread over them.
        model: name of the embedding model on the server; None for the only one there.
        reranker: name of the reranker on the server; None for the only one there.
        tokenizer: folder with the embedding model's tokenizer.json, or a Hub id; None for the tokenizer that the
            server names. A tokenizer that the model was not exported with is refused.
        reranker_tokenizer: the same for the reranker.
        special_tokens: whether special tokens in texts, such as `<|im_end|>`, are read as such, as
            sentence-transformers and vLLM do. By default they are plain text, so that no text can forge a prompt.
        expected_fingerprint: the fingerprint that the embedding model must have, such as that of the vectors in an
            index: `info().fingerprint`. A model that has another one is refused. None for any model.
        expected_reranker_fingerprint: the same for the reranker.
        timeout_s: seconds that each request may take from the moment it is first sent, including its wait in the
            server's queue and all retries.
        retry_s: seconds for which a request is retried that fails because the server is restarting or its queue is
            full; 0 to never retry.
        concurrency: maximum number of requests on their way at once.
        tls: certificates, if the certificate authorities that the system trusts are not enough, or if the server asks
            for a client certificate.
        token: bearer token (RFC 6750), sent with every request.
        headers: additional headers of every request; gRPC calls them metadata.

    Raises:
        InvalidInputError: an option cannot be used.
    """

    url: str = DEFAULT_URL
    _: KW_ONLY
    model: str | None = None
    reranker: str | None = None
    tokenizer: str | os.PathLike[str] | None = None
    reranker_tokenizer: str | os.PathLike[str] | None = None
    special_tokens: bool = False
    expected_fingerprint: str | None = None
    expected_reranker_fingerprint: str | None = None
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
            raise InvalidInputError(f"retry_s must be a number of seconds, or 0 to never retry, not {self.retry_s!r}")
        if self.concurrency < 1:
            raise InvalidInputError(f"concurrency must be at least 1, not {self.concurrency!r}")
        for option, name in (("model", self.model), ("reranker", self.reranker)):
            if name is not None:
                checked_text(name, what=option)
        for option in ("expected_fingerprint", "expected_reranker_fingerprint"):
            expected = getattr(self, option)
            if expected is not None and not (isinstance(expected, str) and is_fingerprint(expected)):
                raise InvalidInputError(
                    f"give {DIGITS} hexadecimal digits, as info().fingerprint has, for {option}=, not {expected!r}"
                )
        if self.tls is not None and not address.is_secure:
            raise InvalidInputError(
                f"tls= needs an encrypted URL: {address.protocol}s://{address.host_and_port} instead of {address}"
            )
        self.request_headers()

    @property
    def address(self) -> Address:
        """The protocol, host and port of the URL; of the first server, if it names several."""
        return self.addresses[0]

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The addresses that the URL names, at least one."""
        return parse_addresses(self.url)

    def request_headers(self) -> dict[str, str]:
        """Return the headers of every request, including the token, by their names in lower case.

        Raises:
            InvalidInputError: a header cannot be sent.
        """
        named = {name.lower(): value for name, value in (self.headers or {}).items()}
        if self.token is not None:
            if "authorization" in named:
                raise InvalidInputError("token= and the header Authorization contradict each other: give one")
            named["authorization"] = f"Bearer {self.token}"
        for name, value in named.items():
            if not _HEADER.fullmatch(name) or name in _RESERVED or name.startswith("grpc-") or name.endswith("-bin"):
                raise InvalidInputError(
                    f"cannot send a header {name!r}: it is not a valid name, or the protocol uses it itself"
                )
            if not isinstance(value, str) or not (value.isascii() and value.isprintable()) or value != value.strip():
                raise InvalidInputError(f"cannot send the header {name!r}: its value must be printable ASCII")
        return named


def checked_kind(kind: Kind) -> Kind:
    """Return `kind`, after checking it.

    Raises:
        InvalidInputError: it is neither "query" nor "document".
    """
    if kind not in ("query", "document"):
        raise InvalidInputError(f"kind must be 'query' or 'document', not {kind!r}")
    return kind


def checked_priority(priority: Priority | None, *, default: Priority) -> Priority:
    """Return `priority` after checking it, or the default if it is None.

    Raises:
        InvalidInputError: there is no such priority.
    """
    if priority is None:
        return default
    if priority not in PRIORITY_LEVELS:
        raise InvalidInputError(f"priority must be {' or '.join(map(repr, PRIORITY_LEVELS))}, not {priority!r}")
    return priority


def checked_truncate(truncate: Truncate) -> Truncate:
    """Return `truncate`, after checking it.

    Raises:
        InvalidInputError: it is none of the four values.
    """
    if truncate not in (True, False, "start", "end"):
        raise InvalidInputError(f"truncate must be True, False, 'start' or 'end', not {truncate!r}")
    return truncate if isinstance(truncate, str) else bool(truncate)  # a numpy bool, say
