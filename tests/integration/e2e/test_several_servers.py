"""One client and several Tritons: requests are spread, a server that is killed is left out and comes back."""

import asyncio
import contextlib
import itertools
import json
import os
import re
import signal
import socket
import ssl
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trustme
from aiohttp import web
from qwen3_client import Client, ClientOptions, ServerUnavailableError, Tls
from qwen3_client.address import Address
from qwen3_client.transports.http import HttpTransport
from qwen3_client.transports.spread import SpreadTransport
from qwen3_export import export
from qwen3_serve import Triton

TEXTS = [f"text {i} {'x' * (i % 50)}" for i in range(400)]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    export("tiny", repository=folder)
    return folder


@pytest.fixture
def tritons(repository: Path) -> Iterator[list[Triton]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Triton(repository, threads=1)) for _ in range(3)]


def url_of(tritons: list[Triton], protocol: str) -> str:
    return ",".join(triton.grpc_url if protocol == "grpc" else triton.http_url for triton in tritons)


def requests(triton: Triton) -> int:
    """Requests that a server has answered."""
    with urllib.request.urlopen(f"{triton.http_url}/v2/models/qwen3_embedding/stats", timeout=10) as answer:  # noqa: S310
        return int(json.load(answer)["model_stats"][0]["inference_stats"]["success"]["count"])


def assert_shares(client: Client, tritons: list[Triton]) -> None:
    """Every server gets at least half as many requests as any other, in one of a few rounds.

    The faster one gets more, and on a busy machine one may hardly run for as long as a round takes.
    """
    shares: list[list[int]] = []
    while not shares or min(shares[-1]) < max(shares[-1]) / 2:
        assert len(shares) < 10, shares
        before = [requests(triton) for triton in tritons]
        client.encode_document(TEXTS)
        shares.append([requests(triton) - count for triton, count in zip(tritons, before, strict=True)])


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_every_server_gets_its_share_of_the_requests(tritons: list[Triton], protocol: str) -> None:
    with Client(url_of(tritons[:1], protocol)) as one:
        expected = one.encode_document(TEXTS)
    with Client(url_of(tritons, protocol)) as client:
        np.testing.assert_array_equal(client.encode_document(TEXTS), expected)
        assert_shares(client, tritons)


class Name:
    """The addresses of the name `triton-headless`, which the system does not know."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hosts: list[str] = []
        system = socket.getaddrinfo

        def getaddrinfo(host: str, port: int, *args: Any, **options: Any) -> Any:  # noqa: ANN401
            if host != "triton-headless":
                return system(host, port, *args, **options)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in self.hosts]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize("scheme", ["dns:///", "http://"])
def test_the_addresses_of_a_name_are_spread_over_and_new_ones_are_found(
    repository: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """Also a third server, while all connections are open, and two after the first one was killed."""
    name = Name(monkeypatch)
    with contextlib.ExitStack() as stack:

        def start(host: str, **ports: Any) -> Triton:  # noqa: ANN401
            name.hosts.append(host)
            return stack.enter_context(Triton(repository, host=host, threads=1, **ports))

        first = start("127.0.0.1")
        ports = {
            f"{protocol}_port": int(url.rpartition(":")[2])
            for protocol, url in (("grpc", first.grpc_url), ("http", first.http_url))
        }
        second = start("127.0.0.2", **ports)
        port = ports["http_port" if scheme == "http://" else "grpc_port"]
        with Client(f"{scheme}triton-headless:{port}") as client:
            expected = client.encode_document(TEXTS)
            assert_shares(client, [first, second])
            third = start("127.0.0.3", **ports)
            at_start = requests(third)
            while requests(third) < at_start + len(TEXTS):  # the name is looked up every few seconds
                np.testing.assert_array_equal(client.encode_document(TEXTS), expected)
            os.kill(first.pid, signal.SIGKILL)
            np.testing.assert_array_equal(client.encode_document(TEXTS), expected)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_server_with_a_small_queue_does_not_slow_the_others(
    tritons: list[Triton], tmp_path: Path, protocol: str
) -> None:
    """It refuses most of its share; nothing fails, and the others go on having many requests at once."""
    folder = export("tiny", repository=tmp_path).directory
    for config in (folder / "config.pbtxt", folder / "configs" / "embedded.pbtxt"):
        text, count = re.subn(
            r"^dynamic_batching \{ \}",
            "dynamic_batching { default_queue_policy { max_queue_size: 1 } }",
            config.read_text("utf-8"),
            flags=re.MULTILINE,
        )
        assert count == 1
        config.write_text(text, "utf-8")
    with Triton(tmp_path, threads=1) as small:
        url = url_of([tritons[0], small, tritons[2]], protocol)
        with Client(url, retry_s=0, concurrency=64) as client, ThreadPoolExecutor(4) as pool:
            expected = client.encode_document(TEXTS)
            for found in pool.map(client.encode_document, [TEXTS] * 8):
                np.testing.assert_array_equal(found, expected)
            session = client.async_client._session
            spread = session.transport
            assert isinstance(spread, SpreadTransport)
            windows = [server.window.limit for server in spread.servers.current]
            assert windows[0] == windows[2] == session._window.limit == 64
            assert windows[1] < 64


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_server_that_is_killed_under_load_loses_nothing_and_comes_back(
    tritons: list[Triton], repository: Path, protocol: str
) -> None:

    victim = tritons[1]
    ports = {name: int(url.rpartition(":")[2]) for name, url in (("http", victim.http_url), ("grpc", victim.grpc_url))}
    rounds: list[bool] = []
    stop = threading.Event()
    with Client(url_of(tritons, protocol), concurrency=16) as client, ThreadPoolExecutor(1) as pool:
        expected = client.encode_document(TEXTS)

        def load() -> None:
            while not stop.is_set():
                rounds.append(bool((client.encode_document(TEXTS) == expected).all()))

        def wait_for_rounds(count: int) -> None:
            target = len(rounds) + count
            while len(rounds) < target:
                assert not running.done(), running.exception()
                stop.wait(0.01)

        running = pool.submit(load)
        try:
            wait_for_rounds(2)
            os.kill(victim.pid, signal.SIGKILL)
            wait_for_rounds(3)
            before = [requests(triton) for triton in (tritons[0], tritons[2])]
            wait_for_rounds(2)
            after = [requests(triton) for triton in (tritons[0], tritons[2])]
            assert all(new > old for new, old in zip(after, before, strict=True))
            victim.__exit__(None, None, None)
            with Triton(repository, http_port=ports["http"], grpc_port=ports["grpc"], threads=1) as again:
                at_start = requests(again)
                for _ in itertools.count():
                    wait_for_rounds(1)
                    if requests(again) > at_start + len(TEXTS):
                        break
                stop.set()
                running.result(timeout=60)
        finally:
            stop.set()
    assert all(rounds)


def test_no_server_at_all_is_said_after_the_time_for_retries(tritons: list[Triton]) -> None:
    url = url_of(tritons, "grpc")
    for triton in tritons:
        triton.__exit__(None, None, None)
    with Client(url, retry_s=0, model="qwen3_embedding") as client, pytest.raises(ServerUnavailableError):
        client.encode_document("a")


def test_connections_that_are_closed_for_their_age_lose_no_request(repository: Path) -> None:
    arguments = ["--grpc-max-connection-age=200", "--grpc-max-connection-age-grace=10000"]
    with Triton(repository, threads=1, arguments=arguments) as triton, Client(triton.grpc_url, retry_s=0) as client:
        expected = client.encode_document(TEXTS)
        for _ in range(10):
            np.testing.assert_array_equal(client.encode_document(TEXTS), expected)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and a server's certificate for its name alone, and not for its address."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    leaf = authority.issue_cert("triton-headless")
    leaf.private_key_pem.write_to_path(folder / "server.key")
    leaf.cert_chain_pems[0].write_to_path(folder / "server.pem")
    return folder


def test_certificates_are_for_the_name_whose_addresses_are_spread_over(
    repository: Path, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = Name(monkeypatch)
    name.hosts = ["127.0.0.1", "127.0.0.2"]  # no server is at the second one
    arguments = [
        "--grpc-use-ssl=1",
        f"--grpc-server-cert={certificates / 'server.pem'}",
        f"--grpc-server-key={certificates / 'server.key'}",
    ]
    with Triton(repository, threads=1, arguments=arguments) as triton:
        port = triton.grpc_url.rpartition(":")[2]
        tls = Tls(ca=certificates / "ca.pem")
        with Client(f"grpcs://triton-headless:{port}", tls=tls) as client:
            assert client.encode_document(TEXTS).shape == (len(TEXTS), 64)
        with (
            Client(f"grpcs://127.0.0.1:{port}", tls=tls, retry_s=0) as client,
            pytest.raises(ServerUnavailableError),
        ):
            client.encode_document("a")


def test_https_checks_the_name_too_and_names_the_host(certificates: Path) -> None:
    """Triton has no HTTPS, so a small server stands for the proxy in front of it."""

    async def about(request: web.Request) -> web.Response:
        return web.json_response({"version": request.headers["Host"]})

    async def ask(name: str | None) -> tuple[int, str]:
        app = web.Application()
        app.router.add_get("/v2", about)
        runner = web.AppRunner(app)
        await runner.setup()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        port = runner.addresses[0][1]
        address = Address(protocol="http", host="127.0.0.1", port=port, is_secure=True, name=name)
        options = ClientOptions("https://triton-headless", tls=Tls(ca=certificates / "ca.pem"))
        transport = HttpTransport(options, address)
        try:
            return port, await transport.server_version(timeout_s=30)
        finally:
            await transport.close()
            await runner.cleanup()

    port, host = asyncio.run(ask("triton-headless"))
    assert host == f"triton-headless:{port}"
    with pytest.raises(ServerUnavailableError, match="certificate"):
        asyncio.run(ask(None))
