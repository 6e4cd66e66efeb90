"""The CPU image, built, and started by compose.yaml with everything around it. `make test-containers`; needs Docker."""

import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from packaging.utils import canonicalize_name
from support.container import DOCKER, ROOT
from support.gateway import wait_until

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1800)]


def compose(*arguments: str) -> str:
    """What a command of Docker Compose prints, in a project of its own: nobody's volumes are touched."""
    command = ["docker", "compose", "--file", str(DOCKER / "compose.yaml"), "--project-name", "qwen3-triton-test"]
    command += ["--profile", "cpu", "--profile", "export"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def _started() -> Iterator[None]:
    """All services of the profile, each healthy by its own check."""
    compose("build")
    services = ["triton-cpu", "gateway", "prometheus", "grafana"]
    try:
        for kind in ("embedding", "reranker"):
            compose("run", "--rm", "export", "tiny", "--kind", kind)
        compose("up", "--detach", "--wait", "--wait-timeout", "600", *services)
        yield
    finally:
        compose("down", "--volumes", "--remove-orphans")


def test_the_gateway_embeds_and_ranks() -> None:
    with httpx.Client(base_url="http://127.0.0.1:8080", trust_env=False, timeout=60) as http:
        embedded = http.post("/v1/embeddings", json={"model": "qwen3_embedding", "input": ["one", "two"]})
        assert [len(each["embedding"]) for each in embedded.json()["data"]] == [64, 64]
        ranked = http.post("/v1/rerank", json={"model": "qwen3_reranker", "query": "one", "documents": ["one", "two"]})
        assert len(ranked.json()["results"]) == 2


def test_prometheus_reads_both() -> None:
    def targets() -> list[dict[str, Any]]:
        answer = httpx.get("http://127.0.0.1:9090/api/v1/targets", trust_env=False, timeout=60).json()
        active: list[dict[str, Any]] = answer["data"]["activeTargets"]
        return active

    def are_read() -> bool:
        return {each["labels"]["job"]: each["health"] for each in targets()} == {"triton": "up", "gateway": "up"}

    # Prometheus may have asked a service that was not there yet, and asks again after its interval.
    wait_until(are_read, what=f"Prometheus does not read both: {targets()}")


@pytest.mark.parametrize("service", ["triton-cpu", "gateway"])
def test_nothing_runs_as_root(service: str) -> None:
    assert compose("exec", "--no-TTY", service, "id", "--user").strip() == "1000"


def test_the_image_holds_the_versions_that_ci_tests() -> None:
    constraints = (ROOT / "constraints" / "dev.txt").read_text().splitlines()
    pinned = {line.partition(" ")[0] for line in constraints}
    installed = compose("exec", "--no-TTY", "triton-cpu", "python", "-m", "pip", "list", "--format=freeze").splitlines()
    assert len(installed) > 30
    for line in installed:
        name, _, version = line.partition("==")
        if canonicalize_name(name) not in {"pip", "qwen3-triton", "setuptools", "wheel"}:
            assert f"{canonicalize_name(name)}=={version}" in pinned
