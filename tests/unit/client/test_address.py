"""URLs, as users type them."""

import pytest
from qwen3_client import InvalidInputError
from qwen3_client.address import parse_address, parse_addresses


@pytest.mark.parametrize(
    ("url", "protocol", "host", "port"),
    [
        ("localhost:8001", "grpc", "localhost", 8001),
        ("localhost", "grpc", "localhost", 8001),
        ("grpc://triton.example.com:9", "grpc", "triton.example.com", 9),
        ("grpc://10.0.0.1", "grpc", "10.0.0.1", 8001),
        ("http://host", "http", "host", 8000),
        ("http://host:80/", "http", "host", 80),
        ("HTTP://Host:80", "http", "host", 80),
        ("[::1]:8001", "grpc", "::1", 8001),
        ("http://[::1]", "http", "::1", 8000),
    ],
)
def test_accepted(url: str, protocol: str, host: str, port: int) -> None:
    address = parse_address(url)
    assert (address.protocol, address.host, address.port) == (protocol, host, port)
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "url",
    [
        "",
        " ",
        "local host:8001",
        "localhost:8001\n",
        "ftp://host",
        "http://",
        ":8001",
        "host:0",
        "host:65536",
        "host:port",
        "host:-1",
        "http://host:8000/v2/models",
        "http://host:8000?x=1",
        "http://host#x",
        "http://user:secret@host",
        "http://[::1",
        "::1",
    ],
)
def test_refused_with_what_is_accepted(url: str) -> None:
    with pytest.raises(InvalidInputError, match=r"grpc://host:8001 for gRPC, http://host:8000 for HTTP"):
        parse_address(url)


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_address("http://me:secret@host:8000")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "protocol", "port"),
    [("grpcs://host", "grpc", 8001), ("https://host", "http", 443), ("grpcs://host:7", "grpc", 7)],
)
def test_tls(url: str, protocol: str, port: int) -> None:
    address = parse_address(url)
    assert (address.protocol, address.port, address.is_secure) == (protocol, port, True)
    assert str(address).startswith(url)


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        ("host", ["grpc://host:8001"]),
        ("a:1,b:2,[::1]", ["grpc://a:1", "grpc://b:2", "grpc://[::1]:8001"]),
        ("https://a,b:2", ["https://a:443", "https://b:2"]),
        ("http://a,http://b", ["http://a:8000", "http://b:8000"]),
        ("dns:///triton-headless:8001", ["grpc://triton-headless:8001"]),
        ("dns:///a,b", ["grpc://a:8001", "grpc://b:8001"]),
    ],
)
def test_several_servers(url: str, addresses: list[str]) -> None:
    assert [str(address) for address in parse_addresses(url)] == addresses


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("a,", "is empty"),
        ("a:1,a:1", "a server twice"),
        ("a,http://b", "different protocols"),
        ("http://a,b/v2", "more than a host"),
        ("dns://8.8.8.8/a", "dns:// is not supported"),
    ],
)
def test_lists_that_are_refused(url: str, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        parse_addresses(url)
