"""Stopping: what was accepted is answered, what comes later is refused in words that clients understand."""

import contextlib
import http.client
import itertools
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from qwen3_client import Client, ServerUnavailableError
from qwen3_export import export
from support.wire import Wire

TOKENS = 400
REQUESTS = 192  # some batches
TEXTS = 64  # of a request to the gateway; some batches too
IDS = np.append(np.full(TOKENS - 1, 97, np.int64), 256)[np.newaxis]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    export("tiny", repository=folder)
    return folder


@contextlib.contextmanager
def serving(repository: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, int]]]:
    """``qwen3-triton serve``, ready, on the ports that it is given."""
    with contextlib.ExitStack() as sockets:
        probes = {name: sockets.enter_context(socket.socket()) for name in ("http", "grpc", "metrics", "gateway")}
        for probe in probes.values():
            probe.bind(("127.0.0.1", 0))
        ports = {name: probe.getsockname()[1] for name, probe in probes.items()}
    arguments = [f"--repository={repository}", "--threads=1", "--drain-timeout=60"]
    ports = {name: port for name, port in ports.items() if name != "gateway" or "--gateway" in options}
    arguments += [f"--{name}-port={port}" for name, port in ports.items()]
    with subprocess.Popen(
        [sys.executable, "-m", "qwen3_client", "serve", *arguments, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            while "Ctrl-C" not in (line := server.stdout.readline()):
                assert line, server.stderr.read() if server.stderr else ""
            yield server, ports
        finally:
            server.kill()


def is_ready(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def test_triton_answers_all_that_it_accepted(repository: Path) -> None:
    with serving(repository) as (server, ports):
        wire = Wire(f"127.0.0.1:{ports['grpc']}", timeout_s=120)
        expected = wire.embed([IDS])[0]
        before = wire.settled_batches()
        futures = [wire.send(IDS) for _ in range(REQUESTS)]
        while wire.batches() == before:  # the first batch is done, the others wait in Triton's queue
            time.sleep(0.01)
        assert not all(future.done() for future in futures)
        assert is_ready(ports["http"], "/v2/health/ready")
        server.send_signal(signal.SIGTERM)
        while is_ready(ports["http"], "/v2/health/ready"):
            time.sleep(0.01)
        assert server.poll() is None, "first it is no longer ready, then it ends"
        with (
            Client(f"127.0.0.1:{ports['grpc']}", model="qwen3_embedding", retry_s=0) as late,
            pytest.raises(ServerUnavailableError),
        ):
            # gRPC may take some more, until Triton has withdrawn the model.
            list(late.encode_stream("a" for _ in itertools.count()))
        for future in futures:
            np.testing.assert_array_equal(future.result(120), expected)
        wire.close()
        assert server.wait(120) == 0


def post(port: int) -> tuple[int, int]:
    """Send texts to the gateway; the status of the response, and how many vectors it has."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    body = json.dumps({"model": "qwen3_embedding", "input": ["a" * (TOKENS - 1)] * TEXTS})
    connection.request("POST", "/v1/embeddings", body, {"Content-Type": "application/json", "Connection": "close"})
    answer = connection.getresponse()
    vectors = json.loads(answer.read()).get("data", [])
    connection.close()
    return answer.status, len(vectors)


def pending_texts(port: int) -> int:
    """How many texts the gateway has accepted and not yet answered."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET", "/metrics", headers={"Connection": "close"})
    metrics = connection.getresponse().read().decode()
    connection.close()
    (line,) = [line for line in metrics.splitlines() if line.startswith("qwen3_gateway_pending_items ")]
    return int(float(line.split()[1]))


def test_the_gateway_answers_before_triton_stops(repository: Path) -> None:
    with serving(repository, "--gateway") as (server, ports), ThreadPoolExecutor(8) as pool:
        assert post(ports["gateway"]) == (200, TEXTS)
        answers: list[Future[tuple[int, int]]] = [pool.submit(post, ports["gateway"]) for _ in range(8)]
        while TEXTS * sum(answer.done() for answer in answers) + pending_texts(ports["gateway"]) < TEXTS * 8:
            time.sleep(0.01)  # what has not arrived yet would be refused, as it should be
        assert not all(answer.done() for answer in answers)
        server.send_signal(signal.SIGTERM)
        while is_ready(ports["gateway"], "/ready"):
            time.sleep(0.01)
        assert [answer.result(120) for answer in answers] == [(200, TEXTS)] * 8
        with pytest.raises(ConnectionRefusedError):
            post(ports["gateway"])
        assert server.wait(120) == 0


def test_who_does_not_want_to_wait_says_so_twice(repository: Path) -> None:
    with serving(repository) as (server, ports), contextlib.closing(socket.socket()) as idle:
        idle.connect(("127.0.0.1", ports["http"]))
        idle.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n")
        assert idle.recv(100)  # a connection that stays open, for which Triton would wait
        server.send_signal(signal.SIGTERM)
        assert server.stderr is not None
        lines: list[str] = []
        for line in server.stderr:
            lines.append(line)
            if "Stopping" in line:
                break
        threading.Timer(0.5, server.send_signal, [signal.SIGTERM]).start()
        assert server.wait(30) == 0, lines


def test_nothing_is_accepted_that_would_be_lost(repository: Path) -> None:
    """Requests that race with the signal are answered or refused, never left hanging."""
    with serving(repository) as (server, ports):
        wire = Wire(f"127.0.0.1:{ports['grpc']}", timeout_s=60)
        expected = wire.embed([IDS])[0]
        futures = []
        for i in range(60):
            futures.append(wire.send(IDS))
            if i == 20:
                wire.batches()  # answered on the same connection, so the requests before it have arrived
                server.send_signal(signal.SIGTERM)
            time.sleep(0.01)
        refusals = [str(error) for future in futures if (error := future.exception(120)) is not None]
        for refusal in refusals:
            assert any(text in refusal for text in ("no available versions", "UNAVAILABLE", "stopping")), refusal
        assert len(refusals) < 40
        for future in futures:
            if future.exception() is None:
                np.testing.assert_array_equal(future.result(), expected)
        wire.close()
        assert server.wait(120) == 0
