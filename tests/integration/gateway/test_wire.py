"""What clients and proxies do to a request on its way: upgrades, compression, HEAD, prefixes, slashes, origins."""

import gzip
import json
import socket
import zlib
from collections.abc import Callable, Iterator

import httpx
import numpy as np
import pytest
from qwen3_client import Client
from qwen3_serve import Triton
from qwen3_serve.gateway import Settings
from support.gateway import Gateway, command, failure_text, running
from support.gateway_requests import BOTH

BODY = {"input": ["Процедура банкротства", "b"]}
# The head that the HttpClient of Java 11 to 25 sends before a body, unless it is told to use HTTP/1.1.
JAVA = (
    "POST {path} HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\n{length}Host: {host}\r\n"
    "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nUpgrade: h2c\r\n"
    "User-Agent: Java-http-client/17.0.15\r\nContent-Type: application/json\r\n\r\n"
)


def exchange(url: str, *parts: bytes) -> list[tuple[int, bytes]]:
    """Send bytes on one connection, piece by piece, and give the status and the body of each answer."""
    host, port = url.removeprefix("http://").split(":")
    answers = []
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            connection.sendall(part)
        with connection.makefile("rb") as stream:
            for _ in range(sum(part.count(b" HTTP/1.1\r\n") for part in parts)):
                status = int(stream.readline().split()[1])
                headers = {}
                while line := stream.readline().rstrip().lower():
                    name, _, value = line.partition(b": ")
                    headers[name] = value
                answers.append((status, stream.read(int(headers[b"content-length"]))))
    return answers


def head(gateway: Gateway, path: str, length: str) -> bytes:
    return JAVA.format(path=path, length=length, host=gateway.url.removeprefix("http://")).encode()


@pytest.mark.parametrize(("path", "body"), BOTH)
def test_javas_offer_to_upgrade_is_ignored(
    gateway: Gateway, http: httpx.Client, path: str, body: dict[str, object]
) -> None:
    content = json.dumps(body).encode()
    whole = head(gateway, path, f"Content-Length: {len(content)}\r\n")
    chunked = head(gateway, path, "Transfer-Encoding: chunked\r\n")
    middle = len(content) // 2
    chunks = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (content[:middle], content[middle:], b"")]
    # Together and apart, twice on one connection.
    answers = exchange(gateway.url, whole + content, whole, content, chunked, *chunks, chunked + b"".join(chunks))
    assert [status for status, _ in answers] == [200] * 4
    if path in ("/v1/embeddings", "/embed", "/v1/ranking"):
        assert [json.loads(each) for _, each in answers] == [http.post(path, json=body).json()] * 4


def test_the_command_ignores_it_too(gateway_triton: Triton) -> None:
    with command("--triton", gateway_triton.grpc_url) as (process, port):
        content = json.dumps(BODY).encode()
        request = JAVA.format(path="/v1/embeddings", length=f"Content-Length: {len(content)}\r\n", host="x").encode()
        ((status, answer),) = exchange(f"http://127.0.0.1:{port}", request + content)
        process.terminate()
        _, log = process.communicate(timeout=60)
    assert log == "", "a request that is answered needs no warning"
    assert (status, len(json.loads(answer)["data"])) == (200, 2)


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [("gzip", gzip.compress), ("GZIP, identity", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)],
)
def test_a_compressed_body_is_read(
    http: httpx.Client, direct: Client, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    content = compress(json.dumps(BODY).encode())
    for sent in (content, (content[i : i + 7] for i in range(0, len(content), 7))):
        answer = http.post("/v1/embeddings", content=sent, headers={"content-encoding": encoding})
        vectors = np.array([item["embedding"] for item in answer.json()["data"]], np.float32)
        np.testing.assert_array_equal(vectors, direct.encode_document(BODY["input"]))


@pytest.mark.parametrize("path", ["/v1/embeddings", "/embed", "/v2/rerank", "/api/embed"])
def test_a_compressed_body_that_cannot_be_read(http: httpx.Client, path: str) -> None:
    whole = gzip.compress(json.dumps(BODY).encode())
    for content in (b'{"input": "a"}', whole[:-9], whole + b"more", b""):
        answer = http.post(path, content=content, headers={"content-encoding": "gzip"})
        assert answer.status_code in (400, 422)
        assert "Content-Encoding" in failure_text(path, answer.json())
    for encoding in ("br", "zstd", "gzip, gzip", "nonesuch"):
        answer = http.post(path, content=whole, headers={"content-encoding": encoding})
        assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "gzip, deflate, identity")
        failure_text(path, answer.json())


def test_the_size_limit_is_about_what_comes_out(http: httpx.Client, gateway: Gateway) -> None:
    bomb = gzip.compress(b'{"input": "' + b" " * 200_000_000)
    assert len(bomb) < 300_000
    answer = http.post("/v1/embeddings", content=bomb, headers={"content-encoding": "gzip"})
    assert answer.status_code == 413
    assert gateway.in_progress == (0, 0)


def test_head_works_wherever_get_does(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    paths = [path for path, methods in document["paths"].items() if "get" in methods]
    paths[paths.index("/v1/models/{name}")] = "/v1/models/qwen3_embedding"
    assert not [path for path in paths if "{" in path]
    assert {"/", "/health", "/v1/models", "/info", "/api/tags", "/v1/health/ready"} <= set(paths)
    for path in (*paths, "/docs", "/openapi.json"):
        got, headed = http.get(path), http.head(path)
        assert (headed.status_code, headed.content) == (got.status_code, b"")
        assert headed.headers["content-type"] == got.headers["content-type"]
    refused = http.head("/v1/embeddings")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("path", ["/v1/embeddings/", "//v1//embeddings", "/v1/embeddings///"])
def test_needless_slashes_change_nothing(http: httpx.Client, path: str) -> None:
    host, port = http.base_url.host, http.base_url.port
    answer = http.post(f"http://{host}:{port}{path}", json=BODY)
    assert (answer.status_code, len(answer.json()["data"])) == (200, 2)


@pytest.fixture(scope="module")
def proxied(gateway_triton: Triton) -> Iterator[httpx.Client]:
    """A gateway behind a path, with keys, for the pages of one origin."""
    settings = Settings(
        triton=gateway_triton.grpc_url, root_path="/some/qwen", api_keys=("key",), cors_origins=("https://app.example",)
    )
    with (
        running(settings) as gateway,
        httpx.Client(base_url=gateway.url, headers={"api-key": "key"}, trust_env=False, timeout=60) as http,
    ):
        yield http


@pytest.mark.parametrize("prefix", ["", "/some/qwen"])
def test_a_proxys_prefix_may_stay_or_be_removed(proxied: httpx.Client, prefix: str) -> None:
    assert proxied.post(f"{prefix}/v1/embeddings", json=BODY).status_code == 200
    assert proxied.get(f"{prefix}/").json()["documentation"] == "/some/qwen/docs"
    assert "url: '/some/qwen/openapi.json'" in proxied.get(f"{prefix}/docs").text
    assert proxied.get(f"{prefix}/openapi.json").json()["servers"] == [{"url": "/some/qwen"}]
    assert proxied.get(f"{prefix}/health", headers={"api-key": ""}).status_code == 200
    assert proxied.post(f"{prefix}/embed", json={"inputs": "a"}, headers={"api-key": ""}).status_code == 401
    assert proxied.post(f"{prefix}/", json={"inputs": "a"}, headers={"api-key": ""}).status_code == 401
    assert proxied.get("/some/qwenx/health").status_code == 404


def test_pages_of_a_named_origin_may_ask(proxied: httpx.Client, http: httpx.Client) -> None:
    ask = {"origin": "https://app.example", "access-control-request-method": "POST"}
    before = proxied.options(
        "/v1/embeddings",
        headers={**ask, "access-control-request-headers": "authorization, content-type", "api-key": ""},
    )
    assert (before.status_code, before.headers["access-control-allow-origin"]) == (200, "https://app.example")
    for status, body in ((200, BODY), (400, {"input": ""})):
        answer = proxied.post("/v1/embeddings", json=body, headers={"origin": "https://app.example"})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, "https://app.example")
    other = proxied.options("/v1/embeddings", headers={**ask, "origin": "https://other.example"})
    assert "access-control-allow-origin" not in other.headers
    unasked = http.post("/v1/embeddings", json=BODY, headers={"origin": "https://app.example"})
    assert not [name for name in unasked.headers if name.startswith("access-control")], "off by default"


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        ("/v1/embeddings", {"input": [*["a"] * 1999, "b\ud83dc"]}, "input[1999]"),
        ("/v1/rerank", {"query": "q", "documents": ["a", {"text": "\udc00"}]}, "documents[1].text"),
        ("/embed", {"inputs": "\ud83d"}, "inputs"),
        ("/api/embed", {"model": "qwen3-embedding", "input": ["a", "\ud83d"]}, "input[1]"),
    ],
)
def test_a_lone_surrogate_is_named_by_its_text(
    http: httpx.Client, path: str, body: dict[str, object], where: str
) -> None:
    answer = http.post(path, content=json.dumps(body))
    assert answer.status_code in (400, 422)
    assert failure_text(path, answer.json()).startswith(f"{where}: the text has a lone surrogate")
