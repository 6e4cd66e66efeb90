"""The command, as an operator runs it: workers, TLS, a stop in order, and `serve --gateway`."""

import json
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from qwen3_serve import Triton
from support.gateway import command, is_listening, standing_still, wait_until


def test_workers_share_the_port_and_the_metrics(gateway_triton: Triton) -> None:
    with command("--triton", gateway_triton.grpc_url, "--workers", "2") as (process, port):
        url = f"http://127.0.0.1:{port}"
        for _ in range(20):  # a fresh connection each, so that both workers get some
            assert httpx.post(f"{url}/v1/embeddings", json={"input": "a"}, trust_env=False).status_code == 200
        for _ in range(4):
            text = httpx.get(f"{url}/metrics", trust_env=False).text
            assert 'requests_total{method="POST",route="/v1/embeddings",status="200"} 20.0' in text
        family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        assert process.wait(30) == 0
        psutil.wait_procs(family, timeout=10)
        assert not any(child.is_running() for child in family)


def test_the_log_has_a_line_for_each_request(gateway_triton: Triton) -> None:
    with command("--triton", gateway_triton.grpc_url) as (process, port):
        httpx.post(f"http://127.0.0.1:{port}/embed", json={"inputs": "a text"}, trust_env=False)
        process.terminate()
        out, err = process.communicate(timeout=30)
    first, line = out.splitlines()
    assert first == f"Gateway to {gateway_triton.grpc_url} on http://127.0.0.1:{port}, described at /docs"
    assert (json.loads(line)["route"], json.loads(line)["status"]) == ("/embed", 200)
    assert (process.returncode, err) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_finishes_what_was_accepted(gateway_triton: Triton, number: signal.Signals) -> None:
    with command("--triton", gateway_triton.grpc_url) as (process, port), ThreadPoolExecutor(1) as pool:
        url = f"http://127.0.0.1:{port}"
        assert httpx.post(f"{url}/embed", json={"inputs": "warm"}, trust_env=False).status_code == 200
        with standing_still(gateway_triton):
            accepted = pool.submit(
                httpx.post, f"{url}/embed", json={"inputs": ["a"] * 100}, trust_env=False, timeout=60
            )
            wait_until(
                lambda: "pending_items 100.0" in httpx.get(f"{url}/metrics", trust_env=False).text,
                what="the request is not admitted",
            )
            process.send_signal(number)
            wait_until(lambda: not is_listening(port), what="the gateway still takes new requests")
            assert process.poll() is None
        assert (accepted.result().status_code, len(accepted.result().json())) == (200, 100)
        assert process.wait(30) == 0


def test_a_stop_does_not_wait_for_ever(gateway_triton: Triton) -> None:
    with (
        command("--triton", gateway_triton.grpc_url, "--drain-timeout", "1") as (process, port),
        ThreadPoolExecutor(1) as pool,
    ):
        url = f"http://127.0.0.1:{port}"
        assert httpx.post(f"{url}/embed", json={"inputs": "warm"}, trust_env=False).status_code == 200
        with standing_still(gateway_triton):
            accepted = pool.submit(httpx.post, f"{url}/embed", json={"inputs": "a"}, trust_env=False, timeout=60)
            wait_until(
                lambda: "pending_items 1.0" in httpx.get(f"{url}/metrics", trust_env=False).text,
                what="the request is not admitted",
            )
            process.terminate()
            assert process.wait(20) == 0
        assert isinstance(accepted.exception(), httpx.HTTPError) or accepted.result().status_code >= 500


def test_tls(gateway_triton: Triton, tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 "
        f"-keyout {key.name} -out {certificate.name}".split(),
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    options = ("--tls-certificate", str(certificate), "--tls-key", str(key))
    with command("--triton", gateway_triton.grpc_url, *options) as (_, port):
        context = ssl.create_default_context(cafile=certificate)
        with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=context, trust_env=False) as http:
            assert http.post("/embed", json={"inputs": "a"}).status_code == 200


def test_keys_and_aliases_reach_the_workers(gateway_triton: Triton, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("from-the-file\n")
    aliases = ("text-embedding-3-small", "my-query")  # the second ends like NIM's suffix for queries
    options = ("--api-key-file", str(keys), "--workers", "2", *(f"--model-alias={alias}" for alias in aliases))
    with (
        command("--triton", gateway_triton.grpc_url, *options, environment={"QWEN3_GATEWAY_API_KEYS": "other"}) as (
            _,
            port,
        ),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http,
    ):
        body = {"input": "a", "model": "text-embedding-3-small"}
        assert http.post("/v1/embeddings", json=body).status_code == 401
        for key in ("from-the-file", "other"):
            assert http.post("/v1/embeddings", json=body, headers={"api-key": key}).status_code == 200
        assert http.post("/v1/embeddings", json={**body, "model": "My-query"}, headers={"api-key": "other"}).is_success


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tls-key", "key.pem"], "--tls-certificate and --tls-key go together"),
        (["--workers", "0"], "--workers must be at least 1"),
        (["--concurrency", "0"], "concurrency must be a positive number"),
        (["--api-key-file", "nonesuch"], "cannot read the API keys"),
        (["--triton", "ftp://nowhere"], "cannot use the URL 'ftp://nowhere'"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_one_line(arguments: Sequence[str], message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "qwen3_gateway", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("qwen3-triton gateway: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_serve_starts_both_and_ends_both(gateway_repository: Path) -> None:
    ports = free_ports(4)
    options = dict(
        zip(("--grpc-port", "--http-port", "--metrics-port", "--gateway-port"), map(str, ports), strict=True)
    )
    arguments = [text for option in options.items() for text in option]
    with subprocess.Popen(
        [sys.executable, "-m", "qwen3_client", "serve", "--gateway", f"--repository={gateway_repository}", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            while f"  gateway  http://127.0.0.1:{ports[3]}\n" not in (line := process.stdout.readline()):
                assert line, process.communicate()
            family = psutil.Process(process.pid).children(recursive=True)
            answer = httpx.post(f"http://127.0.0.1:{ports[3]}/v1/embeddings", json={"input": "a"}, trust_env=False)
            assert answer.status_code == 200
            process.terminate()
            assert process.wait(60) == 0
            assert not any(child.is_running() for child in family)
        finally:
            process.kill()


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports
