"""What the chart's containers run, run here: exports, what waits for them, Triton, the gateway, their probes and stops.

Only paths and ports are others than in the containers.
"""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from qwen3_client import Client
from support.kubernetes import Object, component, of_kind, render

pytestmark = pytest.mark.deploy

OPTIONS = [
    *("--set", "models.embedding.source=tiny,models.reranker.source=tiny,models.reranker.enabled=true"),
    *("--set-json", "models.embedding.options=[]", "--set-json", "models.reranker.options=[]"),
    *("--set", "triton.resources.limits.cpu=2,triton.arguments[0]=--log-verbose=0"),
]
PORTS = {"http": 8000, "grpc": 8001, "metrics": 8002, "gateway": 8080}


@pytest.fixture(scope="module")
def objects() -> list[Object]:
    return render(*OPTIONS)


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory, objects: list[Object]) -> Path:
    """The volume of the models, as the Jobs leave it."""
    folder = tmp_path_factory.mktemp("volume")
    for name in ("models", "exports"):
        (folder / name).mkdir()
    pod = component(objects, "Deployment", "gateway")["spec"]["template"]["spec"]
    with started(pod["initContainers"][0], folder) as waiting:
        for job in of_kind(objects, "Job"):
            assert waiting.poll() is None, "it waited for one model only"
            with started(job["spec"]["template"]["spec"]["containers"][0], folder) as export:
                assert export.wait(timeout=120) == 0
        assert waiting.wait(timeout=60) == 0
    return folder


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    """A free port for each of the containers' ports."""
    with contextlib.ExitStack() as stack:
        probes = {name: stack.enter_context(socket.socket()) for name in PORTS}
        for probe in probes.values():
            probe.bind(("127.0.0.1", 0))
        return {name: probe.getsockname()[1] for name, probe in probes.items()}


@contextlib.contextmanager
def started(container: Object, volume: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """The process of a container."""
    changes = {"/models": f"{volume}/models", "/exports": f"{volume}/exports", "0.0.0.0": "127.0.0.1"}  # noqa: S104
    for each in container.get("env", []):
        changes[f"$({each['name']})"] = str(container["resources"]["limits"]["cpu"])
    # The image's Triton; here, it is that of the wheel.
    arguments = [each for each in container["args"] if each != "--tritonserver=/opt/tritonserver/bin/tritonserver"]
    arguments[1:1] = more
    for old, new in changes.items():
        arguments = [each.replace(old, new) for each in arguments]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with subprocess.Popen(
        [*container.get("command", ["qwen3-triton"]), *arguments],
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def probe(container: Object, name: str, port: int) -> int | None:
    """The status that a probe gets; None if nothing listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=container[name]["timeoutSeconds"])
    try:
        connection.request("GET", container[name]["httpGet"]["path"], headers={"Connection": "close"})
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


def wait_for(container: Object, name: str, port: int, process: subprocess.Popen[str]) -> None:
    """Ask as often as the kubelet does at most, only faster."""
    for _ in range(container[name]["failureThreshold"] * 20):
        if probe(container, name, port) == http.client.OK:
            return
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        time.sleep(container[name]["periodSeconds"] / 20)
    raise AssertionError(f"{container['name']}: its {name} never succeeded")


def stop(pod: dict[str, Any], process: subprocess.Popen[str]) -> None:
    """End a process as the kubelet does, after the time for `preStop`, and see that it need not kill it."""
    before = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=pod["terminationGracePeriodSeconds"] - before) == 0


def test_a_second_run_of_an_export_does_nothing(objects: list[Object], volume: Path) -> None:
    weights = volume / "models" / "qwen3_embedding" / "1" / "model.onnx"
    before = weights.stat()
    job = of_kind(objects, "Job")[0]
    with started(job["spec"]["template"]["spec"]["containers"][0], volume) as export:
        said, _ = export.communicate(timeout=60)
    assert export.returncode == 0
    assert "exported already" in said
    assert weights.stat() == before


def test_an_export_that_fails_leaves_the_pods_waiting(objects: list[Object], tmp_path: Path) -> None:
    for name in ("models", "exports"):
        (tmp_path / name).mkdir()
    container = of_kind(objects, "Job")[0]["spec"]["template"]["spec"]["containers"][0]
    broken = {**container, "args": [*container["args"], "--precision=bf16"]}
    with started(broken, tmp_path) as export:
        said, _ = export.communicate(timeout=60)
    assert export.returncode != 0, said
    assert not any((tmp_path / "exports").iterdir())


def test_triton_and_the_gateway_start_answer_and_stop(
    objects: list[Object], volume: Path, ports: dict[str, int]
) -> None:
    triton_pod = component(objects, "Deployment", "triton")["spec"]["template"]["spec"]
    gateway_pod = component(objects, "Deployment", "gateway")["spec"]["template"]["spec"]
    triton, gateway = triton_pod["containers"][0], gateway_pod["containers"][0]
    service = component(objects, "Service", "triton")["metadata"]["name"]
    assert {each["name"]: each["containerPort"] for each in triton["ports"]} | {"gateway": 8080} == PORTS
    own = [f"--{name}-port={ports[name]}" for name in ("http", "grpc", "metrics")]
    gateway["args"] = [
        each.replace(f"{service}:8001", f"127.0.0.1:{ports['grpc']}").replace("8080", str(ports["gateway"]))
        for each in gateway["args"]
    ]
    with started(gateway, volume) as gateway_process:
        wait_for(gateway, "startupProbe", ports["gateway"], gateway_process)
        assert probe(gateway, "readinessProbe", ports["gateway"]) == http.client.SERVICE_UNAVAILABLE  # no Triton yet
        with started(triton, volume, *own) as server:
            for name in ("startupProbe", "readinessProbe", "livenessProbe"):
                wait_for(triton, name, ports["http"], server)
            for name in ("readinessProbe", "livenessProbe"):
                wait_for(gateway, name, ports["gateway"], gateway_process)
            with Client(f"127.0.0.1:{ports['grpc']}", model="qwen3_embedding") as client:
                assert client.encode_document(["Gravity is a force."]).shape == (1, 64)
            connection = http.client.HTTPConnection("127.0.0.1", ports["gateway"], timeout=60)
            body = '{"model": "qwen3_reranker", "query": "What is gravity?", "documents": ["A force.", "A planet."]}'
            connection.request("POST", "/v1/rerank", body=body, headers={"Content-Type": "application/json"})
            answer = connection.getresponse()
            assert answer.status == http.client.OK, answer.read()
            connection.close()
            stop(gateway_pod, gateway_process)
            stop(triton_pod, server)
