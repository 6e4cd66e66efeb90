"""Triton as the container starts it, here from the wheel, and a gateway in front of it."""

import os
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from qwen3_export import export
from qwen3_serve.gateway import Settings
from qwen3_serve.triton.runtime import find_runtime
from support.container import DOCKER, Served, is_ready
from support.gateway import running

START_S = 120


def _free_ports(*names: str) -> dict[str, int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in names]
    ports = [int(taken.getsockname()[1]) for taken in sockets]
    for taken in sockets:
        taken.close()
    return dict(zip(names, ports, strict=True))


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with an embedding model whose answers Triton caches: only then does it count hits."""
    folder = tmp_path_factory.mktemp("models")
    export("tiny", repository=folder)
    config = folder / "qwen3_embedding" / "configs" / "embedded.pbtxt"
    config.write_text(config.read_text() + "\nresponse_cache { enable: true }\n")
    return folder


@pytest.fixture(scope="session")
def served(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`serve.sh`, run to readiness with the `tritonserver` of the wheel."""
    scratch = tmp_path_factory.mktemp("served")
    runtime = find_runtime()
    program = scratch / "bin" / "tritonserver"
    program.parent.mkdir()
    # Not a link: Triton looks for its libraries beside the path it was started by.
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(str(runtime.binary))} "$@"\n')
    program.chmod(0o755)
    environment = runtime.environment(scratch) | {"MODELS": str(models), "QWEN3_TRITON_THREADS": "1"}
    environment["PATH"] = os.pathsep.join([str(program.parent), environment["PATH"]])
    ports = _free_ports("http", "grpc", "metrics")
    with (scratch / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                DOCKER / "serve.sh",
                # What differs from the container: the backend of the wheel, and ports that are free.
                f"--backend-directory={runtime.backend_directory(scratch)}",
                f"--model-config-name={runtime.config_name}",
                f"--backend-config=python,shm-region-prefix-name=docker-{ports['http']}-",
                f"--cache-directory={runtime.binary.parents[1] / 'caches'}",
                "--cache-config=local,size=1048576",
                *(f"--{name}-port={port}" for name, port in ports.items()),
                *(f"--{name}-address=127.0.0.1" for name in ports),
            ],
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + START_S
        while not is_ready(ports["http"], "/v2/health/ready"):
            assert process.poll() is None, (scratch / "log").read_text()
            assert time.monotonic() < deadline, (scratch / "log").read_text()
            time.sleep(0.1)
        yield Served(process, ports)
    finally:
        process.terminate()
        try:
            process.wait(40)
        finally:
            process.kill()


@pytest.fixture(scope="session")
def metrics(served: Served, models: Path) -> dict[str, str]:
    """What Prometheus would read from a Triton and from a gateway that have both worked, by job."""
    settings = Settings(
        triton=f"127.0.0.1:{served.ports['grpc']}",
        tokenizer=str(models / "qwen3_embedding"),
        reranker_tokenizer=str(models / "qwen3_reranker"),  # compose.yaml names it, exported or not
        max_items=2,
    )
    with running(settings) as gateway, httpx.Client(trust_env=False, timeout=60) as http:
        for texts, status in ((["one", "two"], 200), (["one"] * 3, 400)):
            answer = http.post(f"{gateway.url}/v1/embeddings", json={"model": "qwen3_embedding", "input": texts})
            assert answer.status_code == status, answer.text
        return {
            "triton": http.get(f"http://127.0.0.1:{served.ports['metrics']}/metrics").text,
            "gateway": http.get(f"{gateway.url}/metrics").text,
        }
