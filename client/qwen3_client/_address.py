"""Where a server is: the URL that the user types, taken apart.

This module opens no connection.
"""

from dataclasses import dataclass
from typing import Literal, NoReturn, cast
from urllib.parse import urlsplit

from ._errors import InvalidInputError

__all__ = ["Address", "parse_address"]

# Triton's own defaults.
_DEFAULT_PORTS: dict[str, int] = {"grpc": 8001, "http": 8000}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A protocol, a host and a port.

    Attributes:
        protocol: "grpc" or "http".
        host: name or IP address; an IPv6 address without its brackets.
        port: 1 to 65535.
    """

    protocol: Literal["grpc", "http"]
    host: str
    port: int

    @property
    def host_and_port(self) -> str:
        """`host:port`, an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.protocol}://{self.host_and_port}"


def parse_address(url: str) -> Address:
    """Reads `host:port`, `grpc://host:port` or `http://host:port`; without a port, Triton's default.

    Raises:
        InvalidInputError: it is anything else.
    """
    if not isinstance(url, str):
        _refuse(url, f"it is a {type(url).__name__}")
    if not url or any(character.isspace() or not character.isprintable() for character in url):
        _refuse(url, "it is empty or holds white space")
    try:
        parts = urlsplit(url if "://" in url else f"grpc://{url}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        _refuse(url, str(error))
    protocol = parts.scheme
    if protocol in ("https", "grpcs"):
        _refuse(url, "TLS is not supported yet")
    if protocol not in _DEFAULT_PORTS:
        _refuse(url, f"{protocol}:// is not known")
    if not host:
        _refuse(url, "it names no host")
    if parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
        _refuse(url, "there is more than a host and a port")
    if port == 0:
        _refuse(url, "there is no port 0")
    return Address(protocol=cast(Literal["grpc", "http"], protocol), host=host, port=port or _DEFAULT_PORTS[protocol])


def _refuse(url: object, reason: str) -> NoReturn:
    raise InvalidInputError(
        f"cannot use the URL {url!r}: {reason}; give host:8001 or grpc://host:8001 for gRPC, http://host:8000 for HTTP"
    )
