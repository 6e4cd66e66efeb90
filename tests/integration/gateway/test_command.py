"""The command, as an operator runs it: workers, TLS, a stop in order, and `serve --gateway`."""

import argparse
import json
import os
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
from qwen3_serve import cli as serve_cli
from qwen3_serve.gateway import cli as gateway_cli
from support.gateway import command, is_listening, standing_still, wait_until


def test_workers_share_the_port_and_the_metrics(gateway_triton: Triton) -> None:
    with command("--triton", gateway_triton.grpc_url, "--workers", "2") as (process, port):
        url = f"http://127.0.0.1:{port}"
        for _ in range(20):  # a fresh connection each, so that both workers get some
            assert (
                httpx.post(f"{url}/v1/embeddings", json={"input": "a"}, trust_env=False, timeout=60).status_code == 200
            )

        def are_counted() -> bool:
            text = httpx.get(f"{url}/metrics", trust_env=False, timeout=60).text
            return 'requests_total{method="POST",route="/v1/embeddings",status="200"} 20.0' in text

        wait_until(are_counted, what="not all are counted")  # a worker counts a request just after its response
        assert all(are_counted() for _ in range(4)), "whichever worker is asked"
        family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        assert process.wait(60) == 0
        assert psutil.wait_procs(family, timeout=60)[1] == []


def test_the_log_has_a_line_for_each_request(gateway_triton: Triton) -> None:
    with command("--triton", gateway_triton.grpc_url) as (process, port):
        httpx.post(f"http://127.0.0.1:{port}/embed", json={"inputs": "a text"}, trust_env=False, timeout=60)
        process.terminate()
        out, err = process.communicate(timeout=60)
    first, *lines = out.splitlines()
    line = lines[-1]  # those before are of the fixture's own questions
    assert first == f"Gateway to {gateway_triton.grpc_url} on http://127.0.0.1:{port}, documentation at /docs"
    assert (json.loads(line)["route"], json.loads(line)["status"]) == ("/embed", 200)
    assert (process.returncode, err) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_finishes_what_was_accepted(gateway_triton: Triton, number: signal.Signals) -> None:
    with command("--triton", gateway_triton.grpc_url) as (process, port), ThreadPoolExecutor(1) as pool:
        url = f"http://127.0.0.1:{port}"
        assert httpx.post(f"{url}/embed", json={"inputs": "warm"}, trust_env=False, timeout=60).status_code == 200
        with standing_still(gateway_triton):
            accepted = pool.submit(
                httpx.post, f"{url}/embed", json={"inputs": ["a"] * 100}, trust_env=False, timeout=60
            )
            wait_until(
                lambda: "pending_items 100.0" in httpx.get(f"{url}/metrics", trust_env=False, timeout=60).text,
                what="the request is not accepted",
            )
            process.send_signal(number)
            wait_until(lambda: not is_listening(port), what="the gateway still takes new requests")
            assert process.poll() is None
        assert (accepted.result().status_code, len(accepted.result().json())) == (200, 100)
        assert process.wait(60) == 0


def test_a_stop_does_not_wait_for_ever(gateway_triton: Triton) -> None:
    with (
        command("--triton", gateway_triton.grpc_url, "--drain-timeout", "1") as (process, port),
        ThreadPoolExecutor(1) as pool,
    ):
        url = f"http://127.0.0.1:{port}"
        assert httpx.post(f"{url}/embed", json={"inputs": "warm"}, trust_env=False, timeout=60).status_code == 200
        with standing_still(gateway_triton):
            accepted = pool.submit(httpx.post, f"{url}/embed", json={"inputs": "a"}, trust_env=False, timeout=240)
            wait_until(
                lambda: "pending_items 1.0" in httpx.get(f"{url}/metrics", trust_env=False, timeout=60).text,
                what="the request is not accepted",
            )
            process.terminate()
            assert process.wait(60) == 0
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
        with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=context, trust_env=False, timeout=60) as http:
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
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as http,
    ):
        body = {"input": "a", "model": "text-embedding-3-small"}
        assert http.post("/v1/embeddings", json=body).status_code == 401
        for key in ("from-the-file", "other"):
            assert http.post("/v1/embeddings", json=body, headers={"api-key": key}).status_code == 200
        assert http.post("/v1/embeddings", json={**body, "model": "My-query"}, headers={"api-key": "other"}).is_success


def test_options_for_proxies_browsers_and_token_ids_reach_the_workers(gateway_triton: Triton) -> None:
    origins = ("https://app.example", "https://other.example")
    options = ("--root-path", "/qwen", "--append-end-token", *(f"--cors-origin={origin}" for origin in origins))
    with (
        command("--triton", gateway_triton.grpc_url, *options) as (_, port),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as http,
    ):
        for origin in origins:
            answer = http.post("/qwen/v1/embeddings", json={"input": [65, 66]}, headers={"origin": origin})
            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, origin)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tls-key", "key.pem"], "--tls-certificate and --tls-key go together"),
        (["--workers", "0"], "--workers must be at least 1"),
        (["--concurrency", "0"], "--concurrency must be a positive number"),
        (["--max-body", "99"], "--max-body is above --max-held"),
        (["--api-key-file", "nonesuch"], "cannot read the API keys"),
        (["--calibration", "nonesuch.npz"], "cannot read the calibration nonesuch.npz: No such file"),
        (["--triton", "ftp://nowhere"], "cannot use --triton 'ftp://nowhere'"),
        (["--triton-ca", "/nowhere"], "cannot read --triton-ca '/nowhere'"),
        (["--triton-key", "key.pem"], "--triton-certificate and --triton-key go together"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_one_line(arguments: Sequence[str], message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "qwen3_serve.gateway", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("qwen3-triton gateway: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_port_that_is_taken_is_named_and_the_option_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "qwen3_serve.gateway", "--port", port],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stdout) == (1, ""), "it says where it is only once it is there"
    assert done.stderr == (
        f"qwen3-triton gateway: cannot listen on 127.0.0.1, port {port}: Address already in use; "
        "choose another --port\n"
    )


@pytest.mark.parametrize("port", ["99999", "-1", "http"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "qwen3_client", "gateway", f"--port={port}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert f"argument --port: there is no port {port}; ports are 1 to 65535" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_triton_that_is_away_is_said_at_once_and_that_it_came_too(gateway_repository: Path) -> None:
    (triton_port,) = free_ports(1)
    with subprocess.Popen(
        [sys.executable, "-m", "qwen3_serve.gateway", "--port=0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "QWEN3_TRITON_URL": f"127.0.0.1:{triton_port}"},
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            first = process.stdout.readline()
            url = first.split()[4].rstrip(",")
            assert first.startswith(f"Gateway to 127.0.0.1:{triton_port} on http://127.0.0.1:")
            said = process.stderr.readline()
            assert said.startswith(f"qwen3-triton gateway: no Triton answers at grpc://127.0.0.1:{triton_port} (")
            assert said.endswith("Requests get 503 until this is resolved\n")
            assert httpx.post(f"{url}/embed", json={"inputs": "a"}, trust_env=False, timeout=60).status_code == 503
            with Triton(gateway_repository, threads=1, grpc_port=triton_port):
                while not (line := process.stderr.readline()).startswith("qwen3-triton gateway: "):
                    assert line, "the gateway ended"  # its log says why the request was refused
                assert line == f"qwen3-triton gateway: Triton at 127.0.0.1:{triton_port} answers now\n"
                assert httpx.post(f"{url}/embed", json={"inputs": "a"}, trust_env=False, timeout=60).status_code == 200
            process.terminate()
            assert process.wait(60) == 0
        finally:
            process.kill()


def test_a_model_that_triton_lacks_is_said_at_the_start(gateway_triton: Triton) -> None:
    with command("--triton", gateway_triton.grpc_url, "--model", "nonesuch", "--reranker", "other") as (process, _):
        assert process.stderr is not None
        assert process.stderr.readline() == (
            "qwen3-triton gateway: the server has no model 'nonesuch'; its embedding models are: qwen3_embedding; "
            "name one of them with --model. Requests get 503 until this is resolved\n"
        )


SERVE = [sys.executable, "-m", "qwen3_client", "serve"]


def test_serve_takes_every_option_of_the_gateway_but_where_triton_is() -> None:
    parsers = {}
    for name, add_arguments in (("gateway", gateway_cli.add_arguments), ("serve", serve_cli.add_arguments)):
        parsers[name] = argparse.ArgumentParser(add_help=False)
        add_arguments(parsers[name])
    given = {option for action in parsers["serve"]._actions for option in action.option_strings}
    taken = {action.option_strings[0] for action in parsers["gateway"]._actions}
    assert len(taken) > 25
    assert {option for option in given if option.startswith("--gateway-")} == {
        f"--gateway-{option.removeprefix('--')}" for option in taken if not option.startswith("--triton")
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gateway-workers=2"], "--gateway-workers needs --gateway"),
        (["--gateway", "--gateway-workers=0"], "--gateway-workers must be at least 1, not 0"),
        (["--gateway", "--gateway-workers=x"], "argument --gateway-workers: invalid int value: 'x'"),
        (["--gateway", "--gateway-port=99999"], "argument --gateway-port: there is no port 99999"),
        (["--gateway", "--gateway-tls-key=x"], "--gateway-tls-certificate and --gateway-tls-key go together"),
        (["--gateway", "--gateway-max-items=-1"], "--gateway-max-items must be a positive number"),
        (["--http-port=99999"], "argument --http-port: there is no port 99999; ports are 1 to 65535"),
    ],
)
def test_serve_refuses_in_one_line_what_its_gateway_would_refuse(
    gateway_repository: Path, arguments: Sequence[str], message: str
) -> None:
    done = subprocess.run(
        [*SERVE, f"--repository={gateway_repository}", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode in (1, 2), done.stdout) == (True, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1, "before anything is loaded"


def test_serve_starts_both_and_ends_both(gateway_repository: Path) -> None:
    ports = free_ports(4)
    options = dict(
        zip(("--grpc-port", "--http-port", "--metrics-port", "--gateway-port"), map(str, ports), strict=True)
    )
    arguments = [text for option in options.items() for text in option]
    arguments += ["--gateway-model-alias=mine", "--gateway-model-alias", "yours", "--gateway-max-items", "2"]
    arguments += ["--gateway-no-access-log"]
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
            url = f"http://127.0.0.1:{ports[3]}/v1/embeddings"
            for model, texts, status in (("mine", 2, 200), ("yours", 2, 200), ("mine", 3, 400), ("other", 1, 404)):
                answer = httpx.post(url, json={"input": ["a"] * texts, "model": model}, trust_env=False, timeout=60)
                assert answer.status_code == status, (model, texts)
            assert "only Qwen/Qwen3-Embedding-8B, mine, yours" in answer.text
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


def test_an_idle_connection_is_kept_as_long_as_the_operator_says(gateway_triton: Triton) -> None:
    with (
        command("--triton", gateway_triton.grpc_url, "--keep-alive", "1") as (_, port),
        socket.create_connection(("127.0.0.1", port), timeout=30) as connection,
    ):
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))  # ends when the gateway closes the connection
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert gateway_cli.KEEP_ALIVE_S > 60, "most load balancers keep an idle connection for 60 seconds"
