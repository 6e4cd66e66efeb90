"""Requests beside one another: each gets its own answer, and a client that leaves takes its work with it."""

import asyncio
import json
import socket
from typing import Any

import httpx
import numpy as np
from qwen3_client import Client
from qwen3_serve import Triton
from qwen3_serve.gateway import Settings
from support.gateway import Gateway, running, standing_still, wait_until
from support.wire import texts_done


def test_concurrent_requests_see_only_their_own_data(gateway: Gateway, direct: Client) -> None:
    texts = [f"client {client} text {number} " + "word " * (number % 7) for client in range(24) for number in range(10)]
    expected = direct.encode_document(texts).reshape(24, 10, -1)

    async def use(http: httpx.AsyncClient, client: int) -> None:
        own = texts[client * 10 : client * 10 + 10]
        for size in (1, 3, 10):
            some = own[:size]
            match client % 3:
                case 0:
                    answer = await http.post("/v1/embeddings", json={"input": some})
                    vectors: Any = [item["embedding"] for item in answer.json()["data"]]
                case 1:
                    vectors = (await http.post("/embed", json={"inputs": some})).json()
                case _:
                    answer = await http.post("/api/embed", json={"model": "qwen3-embedding", "input": some})
                    vectors = answer.json()["embeddings"]
            np.testing.assert_array_equal(np.array(vectors, np.float32), expected[client, :size])

    async def use_all() -> None:
        limits = httpx.Limits(max_connections=24)
        async with httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=60, limits=limits) as http:
            await asyncio.gather(*(use(http, client) for client in range(24)))

    asyncio.run(use_all())


def test_a_client_that_leaves_takes_its_work_with_it(gateway_triton: Triton) -> None:
    with running(Settings(triton=gateway_triton.grpc_url, concurrency=4)) as gateway:
        httpx.post(f"{gateway.url}/embed", json={"inputs": "warm"}, trust_env=False, timeout=60)
        before = texts_done(gateway_triton)
        texts = ["x" * length for length in range(1, 201)]  # each in a request of its own
        body = json.dumps({"input": texts}).encode()
        host, port = gateway.url.removeprefix("http://").split(":")
        with standing_still(gateway_triton):
            with socket.create_connection((host, int(port))) as client:
                client.sendall(
                    b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
                )
                wait_until(lambda: gateway.in_progress[1] > 0, what="the request is not accepted")
            wait_until(lambda: gateway.in_progress == (0, 0), what="the work goes on without the client")
        counted = 'qwen3_gateway_requests_total{method="POST",route="/v1/embeddings",status="499"} 1.0'
        metrics = f"{gateway.url}/metrics"
        wait_until(lambda: counted in httpx.get(metrics, trust_env=False, timeout=60).text, what="it is not counted")
        assert (
            httpx.post(f"{gateway.url}/embed", json={"inputs": "next"}, trust_env=False, timeout=60).status_code == 200
        )
        # What was on its way to Triton when the client left may still be run, and the next request is.
        assert texts_done(gateway_triton) - before <= 4 + 1
