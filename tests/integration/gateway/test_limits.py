"""Too much, too large, too slow: refused at once, and nothing piles up."""

import contextlib
import select
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from qwen3_client import Client
from qwen3_serve import Triton
from qwen3_serve.gateway import Settings
from qwen3_serve.gateway.middleware.limits import Limits
from support.gateway import Gateway, command, failure_text, running, standing_still, wait_until
from support.measure import anonymous_bytes

_MIB = 2**20


@pytest.fixture(scope="module")
def small(gateway_triton: Triton) -> Iterator[Gateway]:
    """A gateway with narrow limits."""
    settings = Settings(
        triton=gateway_triton.grpc_url,
        concurrency=4,
        max_body_bytes=_MIB,
        max_held_bytes=2 * _MIB,
        max_items=32,
        max_pending_items=64,
        max_request_tokens=3000,
        max_pending_tokens=6000,
        max_requests=40,
    )
    with running(settings) as gateway:
        assert (
            httpx.post(f"{gateway.url}/embed", json={"inputs": "warm"}, trust_env=False, timeout=60).status_code == 200
        )
        yield gateway


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v2/rerank", "/embed", "/api/embed"])
def test_a_body_of_50_mb(http: httpx.Client, path: str) -> None:
    for content in (b"x" * 50_000_000, (b"x" * 1_000_000 for _ in range(50))):
        answer = http.post(path, content=content)
        assert (answer.status_code, answer.headers["connection"]) == (413, "close")
        assert "8388608 bytes" in failure_text(path, answer.json())


@pytest.fixture(scope="module")
def impatient(gateway_triton: Triton) -> Iterator[Gateway]:
    """A gateway that gives a body little time."""
    with running(Settings(triton=gateway_triton.grpc_url, body_timeout_s=1)) as gateway:
        yield gateway


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v2/rerank", "/embed", "/api/embed"])
def test_a_body_that_does_not_arrive(impatient: Gateway, path: str) -> None:
    host, port = impatient.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as sender:
        sender.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n".encode() + b'{"input": "')
        for _ in range(900):  # a little now and then does not help
            if select.select([sender], [], [], 0.1)[0]:
                break
            sender.sendall(b"a")
        answer = b""
        with contextlib.suppress(ConnectionResetError):  # of what was sent when the connection was closed already
            while piece := sender.recv(4096):
                answer += piece
    assert answer.startswith(b"HTTP/1.1 408 ")
    failure_text(path, httpx.Response(408, content=answer.partition(b"\r\n\r\n")[2]).json())


def test_too_many_items_and_tokens_in_one_request(small: Gateway) -> None:
    with httpx.Client(base_url=small.url, trust_env=False, timeout=60) as http:
        items = http.post("/v1/embeddings", json={"input": ["a"] * 33})
        assert (items.status_code, "33 texts are more than the 32" in items.text) == (400, True)
        tokens = http.post("/v1/embeddings", json={"input": ["a b c d " * 30] * 30})
        assert (tokens.status_code, "more than the 3000" in tokens.text) == (400, True)
        assert http.post("/embed", json={"inputs": ["a"] * 33}).status_code == 413
    assert small.in_progress == (0, 0)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"input": ["a"] * 4}),
        ("/embed", {"inputs": ["a"] * 4}),
        ("/api/embed", {"model": "qwen3-embedding", "input": ["a"] * 4}),
    ],
)
def test_overload_is_answered_at_once_and_what_was_accepted_is_finished(
    small: Gateway, gateway_triton: Triton, path: str, body: dict[str, object]
) -> None:
    with httpx.Client(base_url=small.url, trust_env=False, timeout=60) as http, ThreadPoolExecutor(16) as pool:
        with standing_still(gateway_triton):
            accepted = [pool.submit(http.post, path, json=body) for _ in range(16)]
            wait_until(lambda: small.in_progress[0] == 64, what="64 items are not accepted")
            refused = [http.post(path, json=body) for _ in range(20)]
            assert {answer.status_code for answer in refused} == {429}
            assert all(1 <= int(answer.headers["retry-after"]) <= 60 for answer in refused)
            failure_text(path, refused[0].json())
            assert http.get("/health").status_code == 200, "an overloaded gateway lives"
        assert {future.result().status_code for future in accepted} == {200}
    assert small.in_progress == (0, 0)


def test_too_many_bytes_at_once(small: Gateway) -> None:
    host, port = small.url.removeprefix("http://").split(":")
    head = b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    with socket.create_connection((host, int(port))) as one, socket.create_connection((host, int(port))) as two:
        for holder in (one, two):
            holder.sendall(head + b"x" * 990_000)
        wait_until(lambda: _bytes_held(small) == 2 * 990_000, what="the bytes did not arrive")
        answer = httpx.post(f"{small.url}/embed", content=b"x" * 500_000, trust_env=False, timeout=60)
        assert (answer.status_code, answer.json()["error_type"]) == (429, "overloaded")
    wait_until(lambda: _bytes_held(small) == 0, what="bytes are still held")


def _bytes_held(gateway: Gateway) -> int:
    layer: Any = gateway.app.middleware_stack
    while not isinstance(layer, Limits):
        layer = layer.app if hasattr(layer, "app") else layer._app
    return layer._held_bytes


def test_memory_does_not_grow_while_requests_are_refused(gateway_triton: Triton) -> None:
    arguments = ("--triton", gateway_triton.grpc_url, "--max-pending-items", "2048", "--no-access-log")
    with command(*arguments) as (process, port):
        body = {"input": ["x" * 500] * 2048}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=240) as http:
            assert http.post("/v1/embeddings", json={"input": "warm"}).status_code == 200
            with ThreadPoolExecutor(1) as pool, standing_still(gateway_triton):
                accepted = pool.submit(http.post, "/v1/embeddings", json={"input": ["a"] * 2048})
                wait_until(
                    lambda: "pending_items 2048.0" in http.get("/metrics").text, what="the request is not accepted"
                )
                for _ in range(20):
                    assert http.post("/v1/embeddings", json=body).status_code == 429
                before = anonymous_bytes(process.pid)
                for _ in range(200):
                    assert http.post("/v1/embeddings", json=body).status_code == 429
                grown = anonymous_bytes(process.pid) - before
                assert grown < 32 * _MIB, "200 MB were refused"
            assert accepted.result().status_code == 200


def test_a_small_request_does_not_wait_for_a_large_one(gateway_triton: Triton) -> None:
    with (
        running(Settings(triton=gateway_triton.grpc_url, concurrency=8)) as gateway,
        httpx.Client(base_url=gateway.url, trust_env=False, timeout=60) as http,
        ThreadPoolExecutor(1) as pool,
    ):
        assert http.post("/embed", json={"inputs": "warm"}).status_code == 200
        large = pool.submit(http.post, "/embed", json={"inputs": ["some words " * 20] * 2000})
        wait_until(lambda: gateway.in_progress[1] > 0, what="the large request is not accepted")
        assert http.post("/embed", json={"inputs": "small"}).status_code == 200
        assert not large.done(), "the small request was answered first"
        assert len(large.result().json()) == 2000


def test_a_large_request_comes_back_in_order(http: httpx.Client, direct: Client) -> None:
    texts = [f"text number {number}" for number in range(300)]
    answer = http.post("/embed", json={"inputs": texts})
    np.testing.assert_array_equal(np.float32(answer.json()), direct.encode_document(texts))
