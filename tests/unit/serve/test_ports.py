"""Which addresses other machines can reach, and who listens on a port."""

import os
import socket
import subprocess
import sys

import pytest
from qwen3_serve.triton.ports import is_loopback, listens


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104
        ("::", False),
        ("192.168.1.7", False),
        ("server.example", False),
    ],
)
def test_only_loopback_addresses_are_out_of_reach(host: str, *, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_only_who_listens_on_a_port_listens_on_it(family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family) as listener:
        listener.bind((host, 0))
        port = int(listener.getsockname()[1])
        assert not listens(os.getpid(), port), "it is bound only"
        listener.listen()
        assert listens(os.getpid(), port)
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
            assert not listens(other.pid, port)
    assert not listens(os.getpid(), port)
    assert not listens(other.pid, port), "it has ended"
