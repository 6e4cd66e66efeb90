"""The addresses of servers, parsed from the URL that the user gives.

This module opens no connection.
"""

import ipaddress
from dataclasses import dataclass
from typing import Literal, NoReturn
from urllib.parse import urlsplit

from .errors import InvalidInputError

_GRPC_NAME = "dns:///"  # how gRPC writes a name with several addresses

# Triton's own default ports; the port of https is that of a proxy in front of Triton, which has no HTTPS itself.
_DEFAULT_PORTS: dict[str, int] = {"grpc": 8001, "grpcs": 8001, "http": 8000, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """The protocol, host and port of a server.

    Attributes:
        protocol: "grpc" or "http".
        host: name or IP address; an IPv6 address without its brackets.
        port: 1 to 65535.
        is_secure: whether the connection is encrypted with TLS.
        name: the name that was looked up, if `host` is one of several addresses of it; requests and certificates are
            for that name. None if `host` is what the URL says.
    """

    protocol: Literal["grpc", "http"]
    host: str
    port: int
    is_secure: bool = False
    name: str | None = None

    @property
    def host_and_port(self) -> str:
        """The address as `host:port`, with an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_name(self) -> bool:
        """Whether the host is a name that may have several addresses; `localhost` is one server."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return self.host != "localhost"
        return False

    def __str__(self) -> str:
        return f"{self.protocol}{'s' if self.is_secure else ''}://{self.host_and_port}"


def parse_address(url: str) -> Address:
    """Return the address that a URL names.

    Args:
        url: `host:port`, which means gRPC, or `grpc://`, `grpcs://`, `http://` or `https://` and `host:port`. Without a
            port, the protocol's default is used.

    Raises:
        InvalidInputError: it is not such a URL.
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
        # An IPv6 address in brackets has colons too: the port is after the last one.
        _refuse(url, f"its port is {parts.netloc.rpartition(':')[2]!r}, not a number from 1 to 65535")
    if parts.scheme not in _DEFAULT_PORTS:
        _refuse(url, f"{parts.scheme}:// is not supported")
    if not host:
        _refuse(url, "it names no host")
    if parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
        _refuse(url, "it holds more than a host and a port")
    if port == 0:
        _refuse(url, "its port is 0, not a number from 1 to 65535")
    return Address(
        protocol="grpc" if parts.scheme.startswith("grpc") else "http",
        host=host,
        port=port or _DEFAULT_PORTS[parts.scheme],
        is_secure=parts.scheme.endswith("s"),
    )


def parse_addresses(url: str) -> tuple[Address, ...]:
    """Return the addresses that a URL names, at least one.

    Args:
        url: as for `parse_address`, or several hosts after a comma each, such as `http://a:8000,b:8000`; or a name as
            gRPC writes it, `dns:///host:port`.

    Raises:
        InvalidInputError: it is not such a URL, an address is there twice, or the protocols differ.
    """
    if not isinstance(url, str):
        return (parse_address(url),)  # which refuses it
    first, *others = (f"grpc://{url.removeprefix(_GRPC_NAME)}" if url.startswith(_GRPC_NAME) else url).split(",")
    scheme, separator, _ = first.rpartition("://")
    addresses = [parse_address(each if "://" in each else f"{scheme}{separator}{each}") for each in (first, *others)]
    if len({(each.protocol, each.is_secure) for each in addresses}) > 1:
        _refuse(url, "its servers have different protocols")
    if len(set(addresses)) < len(addresses):
        _refuse(url, "it names a server twice")
    return tuple(addresses)


def _refuse(url: object, reason: str) -> NoReturn:
    if isinstance(url, str) and "@" in url:
        url = url.rpartition("@")[2]  # a password may be before the @
    raise InvalidInputError(
        f"cannot use the URL {url!r}: {reason}; give host:8001 or grpc://host:8001 for gRPC, http://host:8000 for "
        "HTTP, grpcs:// or https:// for TLS"
    )
