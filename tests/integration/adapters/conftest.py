"""What the tests of the integrations share: a real Triton with the tiny models, a plain client, and no network."""

import contextlib
import ipaddress
import os
import socket
from collections.abc import Iterator

import pytest
from qwen3_client import Client
from qwen3_serve import Triton

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # Haystack reads it when it is imported


@pytest.fixture(scope="session")
def url(triton: Triton) -> str:
    """Where it listens."""
    return triton.grpc_url


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    """What every integration must agree with."""
    with Client(url) as plain:
        yield plain


@pytest.fixture(autouse=True)
def strangers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Fails a test whose library calls somebody outside this machine, even where the library hides the failure."""
    called: list[str] = []
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def refuse_unless_near(host: object) -> None:
        with contextlib.suppress(ValueError):
            if host in (None, "localhost") or ipaddress.ip_address(str(host)).is_loopback:
                return
        called.append(str(host))
        raise OSError(f"tests have no network, and {host} was called")

    def guarded_connect(self: socket.socket, address: tuple[str, int] | str) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            refuse_unless_near(address[0])
        connect(self, address)

    def guarded_look_up(
        host: str | None,
        port: int | str | None,
        family: int = 0,
        type: int = 0,  # noqa: A002 - its name there
        proto: int = 0,
        flags: int = 0,
    ) -> object:
        refuse_unless_near(host)
        return look_up(host, port, family, type, proto, flags)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_look_up)
    yield called
    assert called == []
