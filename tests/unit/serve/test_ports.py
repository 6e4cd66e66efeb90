"""Which addresses other machines can reach."""

import pytest
from qwen3_serve.triton.ports import is_loopback


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
