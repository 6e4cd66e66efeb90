"""Ports: the wanted ones checked, free ones for the rest; and how to reach who listens."""

import argparse
import socket

from ..errors import ServeError

_LAST_PORT = 65535


def reachable(host: str) -> str:
    """Where a server on this machine that listens on an address answers."""
    return {"::": "::1", "0.0.0.0": "127.0.0.1"}.get(host, host)  # noqa: S104


def in_url(host: str) -> str:
    """The host part of its URL."""
    address = reachable(host)
    return f"[{address}]" if ":" in address else address


def listening(protocol: str, host: str) -> str:
    """An address as Triton takes it: gRPC and the HTTP library each have a spelling of their own for IPv6."""
    if ":" not in host:
        return host
    return f"[{host}]" if protocol == "grpc" else f"ipv6:{host}"


class PortLostError(ServeError):
    """Triton could not bind a port."""


def port_number(text: str) -> int:
    """A port as an option takes it; 0 for a free one.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    if not text.isdecimal() or int(text) > _LAST_PORT:
        raise argparse.ArgumentTypeError(f"there is no port {text}; ports are 1 to {_LAST_PORT}")
    return int(text)


def choose_ports(host: str, wanted: dict[str, int | None]) -> dict[str, int]:
    """Check the wanted ports and pick free ones for the rest.

    Raises:
        ServeError: A wanted port is taken.
    """
    ports, sockets = {}, []
    try:
        for protocol, port in wanted.items():
            listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            sockets.append(listener)  # held until all are chosen, so that no two are the same
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
