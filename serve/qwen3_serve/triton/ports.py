"""Ports to listen on, and the addresses under which a listening server is reached."""

import argparse
import ipaddress
import socket

from ..errors import ServeError

_LAST_PORT = 65535


def reachable(host: str) -> str:
    """Return the address under which a server that listens on `host` is reached from this machine."""
    return {"::": "::1", "0.0.0.0": "127.0.0.1"}.get(host, host)  # noqa: S104


def is_loopback(host: str) -> bool:
    """Return whether only programs on this machine reach a server that listens on `host`.

    A name other than `localhost` counts as reachable from elsewhere, because what it resolves to may change.
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def in_url(host: str) -> str:
    """Return the host part of the URL of a server that listens on `host`."""
    address = reachable(host)
    return f"[{address}]" if ":" in address else address


def listening(protocol: str, host: str) -> str:
    """Return an address as Triton takes it: for IPv6, gRPC and the HTTP library each have a syntax of their own."""
    if ":" not in host:
        return host
    return f"[{host}]" if protocol == "grpc" else f"ipv6:{host}"


class PortLostError(ServeError):
    """Triton could not bind a port."""


def port_number(text: str) -> int:
    """Convert the value of an option to a port; 0 stands for a free one.

    Raises:
        argparse.ArgumentTypeError: It is no port number.
    """
    if not text.isdecimal() or int(text) > _LAST_PORT:
        raise argparse.ArgumentTypeError(f"there is no port {text}; ports are 1 to {_LAST_PORT}")
    return int(text)


def choose_ports(host: str, wanted: dict[str, int | None]) -> dict[str, int]:
    """Check that the wanted ports are free, and choose free ones where none is wanted.

    Raises:
        ServeError: A wanted port is taken.
    """
    ports, sockets = {}, []
    try:
        for protocol, port in wanted.items():
            listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            sockets.append(listener)  # kept open until all are chosen, so that no two are the same
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((host, port or 0))
                listener.listen()
            except OSError as error:
                raise ServeError(
                    f"{protocol} cannot listen on {host}:{port}: {error.strerror}; "
                    f"choose another with --{protocol}-port"
                ) from None
            ports[protocol] = int(listener.getsockname()[1])
    finally:
        for listener in sockets:
            listener.close()
    return ports
