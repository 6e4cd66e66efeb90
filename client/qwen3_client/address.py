"""Where a server is: the URL that the user types, taken apart.

This module opens no connection.
"""

from dataclasses import dataclass
from typing import Literal, NoReturn
from urllib.parse import urlsplit

from .errors import InvalidInputError

# Triton's own defaults; HTTP over TLS is what a proxy before it speaks.
_DEFAULT_PORTS: dict[str, int] = {"grpc": 8001, "grpcs": 8001, "http": 8000, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A protocol, a host and a port.

    Attributes:
        protocol: "grpc" or "http".
        host: name or IP address; an IPv6 address without its brackets.
        port: 1 to 65535.
        is_secure: whether all is sent over TLS.
    """

    protocol: Literal["grpc", "http"]
    host: str
    port: int
    is_secure: bool = False

    @property
    def host_and_port(self) -> str:
        """`host:port`, an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.protocol}{'s' if self.is_secure else ''}://{self.host_and_port}"


def parse_address(url: str) -> Address:
    """Read `host:port`, `grpc://host:port`, `http://host:port`, or with `grpcs` or `https`; a port may be missing.

    Raises:
        InvalidInputError: it is anything else.
    """
    if not isinstance(url, str):
        _refuse(url, f"it is a {type(url).__name__}")
    if not url or any(character.isspace() or not character.isprintable() for character in url):
        _refuse(url, "it is empty or holds white space")
    try:
        parts = urlsplit(url if "://" in url else f"grpc://{url}")
        host = parts.hostname
    except ValueError as error:
        _refuse(url, str(error))
    try:
        port = parts.port
    except ValueError:
        # Brackets, and the colons between them, are an IPv6 address.
        _refuse(url, f"its port is {parts.netloc.rpartition(':')[2]!r}, not a number from 1 to 65535")
    if parts.scheme not in _DEFAULT_PORTS:
        _refuse(url, f"{parts.scheme}:// is not known")
    if not host:
        _refuse(url, "it names no host")
    if parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
        _refuse(url, "there is more than a host and a port")
    if port == 0:
        _refuse(url, "its port is 0, not a number from 1 to 65535")
    return Address(
        protocol="grpc" if parts.scheme.startswith("grpc") else "http",
        host=host,
        port=port or _DEFAULT_PORTS[parts.scheme],
        is_secure=parts.scheme.endswith("s"),
    )


def _refuse(url: object, reason: str) -> NoReturn:
    if isinstance(url, str) and "@" in url:
        url = url.rpartition("@")[2]  # a password may be before it
    raise InvalidInputError(
        f"cannot use the URL {url!r}: {reason}; give host:8001 or grpc://host:8001 for gRPC, http://host:8000 for "
        "HTTP, grpcs:// or https:// for TLS"
    )
