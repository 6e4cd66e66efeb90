"""Ports to listen on, and the addresses under which a listening server is reached."""

import argparse
import contextlib
import ipaddress
import socket
from pathlib import Path

from ..errors import ServeError

_LAST_PORT = 65535
_LISTENS = "0A"  # TCP_LISTEN, as Linux writes it in /proc/<pid>/net/tcp


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


def listens(pid: int, port: int) -> bool:
    """Return whether a process listens on a port itself, of any address; False if Linux does not tell."""
    sockets, opened = set(), set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):  # the process has ended, or this machine has no IPv6
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                # "sl local_address rem_address st tx_queue:rx_queue tr:when retrnsmt uid timeout inode …"
                row = line.split()
                if row[1].endswith(f":{port:04X}") and row[3] == _LISTENS:
                    sockets.add(f"socket:[{row[9]}]")
    with contextlib.suppress(OSError):  # it has ended
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # it was closed meanwhile
                opened.add(str(file.readlink()))
    return not sockets.isdisjoint(opened)


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
