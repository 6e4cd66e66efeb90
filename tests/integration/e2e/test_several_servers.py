"""One client and several Tritons: requests are spread, a server that is killed is left out and comes back."""

import contextlib
import itertools
import json
import os
import signal
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from qwen3_client import Client, ServerUnavailableError
from qwen3_client.address import Address
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


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_requests_are_spread_evenly(tritons: list[Triton], protocol: str) -> None:
    with Client(url_of(tritons[:1], protocol)) as one:
        expected = one.encode_document(TEXTS)
    before = [requests(triton) for triton in tritons]
    with Client(url_of(tritons, protocol)) as client:
        np.testing.assert_array_equal(client.encode_document(TEXTS), expected)
    answered = [requests(triton) - count for triton, count in zip(tritons, before, strict=True)]
    assert max(answered) - min(answered) <= 2, answered


def test_a_name_with_several_addresses_is_spread_over(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The addresses are given in place of a name, because no name has them on every machine."""
    with contextlib.ExitStack() as stack:
        tritons = [stack.enter_context(Triton(repository, host="127.0.0.1", threads=1))]
        port = int(tritons[0].grpc_url.rpartition(":")[2])
        tritons.append(stack.enter_context(Triton(repository, host="127.0.0.2", grpc_port=port, threads=1)))
        monkeypatch.setattr(Address, "host_and_port", f"ipv4:127.0.0.1:{port},127.0.0.2:{port}")
        before = [requests(triton) for triton in tritons]
        with Client(f"triton-headless:{port}") as client:
            client.encode_document(TEXTS)
            answered = [requests(triton) - count for triton, count in zip(tritons, before, strict=True)]
            assert min(answered) > len(TEXTS) / 4, answered
            os.kill(tritons[0].pid, signal.SIGKILL)
            assert client.encode_document(TEXTS).shape == (len(TEXTS), 64)


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
