"""Gateways that run in front of a real Triton, and the forms that their error responses must have."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
import psutil
import uvicorn
from fastapi import FastAPI
from qwen3_export import export
from qwen3_serve import Triton
from qwen3_serve.gateway import Settings, create_app
from qwen3_serve.gateway.workers import HTTP

DIMENSIONS = 64
MAX_TOKENS = 2048
TEI_PATHS = {
    *("/", "/embed", "/rerank", "/similarity", "/tokenize", "/decode", "/info", "/invocations"),
    *("/reranker/health", "/reranker/info", "/reranker/rerank"),
}


@dataclass(frozen=True)
class Gateway:
    """A running gateway."""

    url: str
    app: FastAPI

    @property
    def in_progress(self) -> tuple[int, int]:
        """Items and tokens that are accepted and not yet answered."""
        pending = self.app.state.engine._admission._pending
        return pending.items, pending.tokens


@contextlib.contextmanager
def running(settings: Settings) -> Iterator[Gateway]:
    """Runs a gateway on a free port, in a thread of its own."""
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        log_config=None,
        access_log=False,
        http=HTTP,
        ws="none",
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "uvicorn did not start"
            time.sleep(0.01)
        yield Gateway(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", app)
    finally:
        server.should_exit = True
        thread.join()


@contextlib.contextmanager
def standing_still(triton: Triton) -> Iterator[None]:
    """Stops a Triton from working for as long as the block lasts: what is sent to it waits."""
    processes = [psutil.Process(triton.pid), *psutil.Process(triton.pid).children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


@contextlib.contextmanager
def command(*arguments: str, environment: dict[str, str] | None = None) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Runs the command on a port that was free, and ends it with the block; gives its process and the port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    process = subprocess.Popen(
        [sys.executable, "-m", "qwen3_serve.gateway", "--port", str(port), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    try:
        scheme = "https" if "--tls-certificate" in arguments else "http"
        url = f"{scheme}://127.0.0.1:{port}/health"
        wait_until(lambda: answers(url) or process.poll() is not None, what="the command does not answer")
        yield process, port
    finally:
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        if process.stdout is not None and not process.stdout.closed:
            process.communicate()


def answers(url: str) -> bool:
    """Says whether a gateway's workers answer; it listens before it has any."""
    try:
        return httpx.get(url, trust_env=False, verify=False, timeout=5).is_success  # noqa: S501 - our own certificate
    except httpx.TransportError:
        return False


def is_listening(port: int) -> bool:
    """Says whether somebody accepts connections on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition: Callable[[], bool], *, what: str) -> None:
    """Waits for something that must come true."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def export_as_8b(folder: Path, *, kind: Literal["embedding", "reranker"]) -> None:
    """Exports the tiny model, and has it say that it is the published one with 8B parameters."""
    export("tiny", repository=folder, kind=kind)
    name, checkpoint = {
        "embedding": ("qwen3_embedding", "Qwen/Qwen3-Embedding-8B"),
        "reranker": ("qwen3_reranker", "Qwen/Qwen3-Reranker-8B"),
    }[kind]
    for config in (folder / name).rglob("*.pbtxt"):
        text = config.read_text()
        for key, value in (("source", checkpoint), ("model_size", "8B")):
            before = f'key: "{key}"\n  value {{\n    string_value: "tiny"'
            assert before in text
            text = text.replace(before, before.replace('"tiny"', f'"{value}"'))
        config.write_text(text)


def failure_text(path: str, body: dict[str, Any]) -> str:
    """Return the message of an error response, once it is known to have the form of the path's API."""
    if path.startswith("/api/"):
        assert set(body) == {"error"}
        message = body["error"]
    elif path in ("/v1/rerank", "/v2/rerank", "/v1/embed", "/v2/embed"):
        assert set(body) == {"id", "message", "detail"}
        assert body["message"] == body["detail"]
        message = body["message"]
    elif path in TEI_PATHS and "error_type" in body:
        assert set(body) == {"error", "error_type"}
        assert body["error_type"] in ("unhealthy", "backend", "overloaded", "validation", "tokenizer", "empty")
        message = body["error"]
    elif path in ("/rerank", "/reranker/rerank"):  # with `documents`, it is Jina's API
        assert set(body) == {"id", "message", "detail"}
        message = body["message"]
    else:
        assert set(body) == {"error", "detail"}
        assert set(body["error"]) == {"message", "type", "param", "code"}
        assert body["detail"] == body["error"]["message"]
        message = body["detail"]
    assert isinstance(message, str)
    assert message
    return message
