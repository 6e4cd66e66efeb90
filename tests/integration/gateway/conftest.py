"""A real Triton with tiny models that say they are the 8B ones, and a gateway in front of it."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from qwen3_client import Client
from qwen3_serve import Triton
from qwen3_serve.gateway import Settings
from support.gateway import Gateway, export_as_8b, running


@pytest.fixture(scope="session", autouse=True)
def _patient_probes() -> Iterator[None]:
    """Gateways in this process give a Triton more than two seconds to report that it is ready: it may share a core."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qwen3_serve.gateway.readiness._TIMEOUT_S", 60.0)
        yield


@pytest.fixture(scope="session")
def gateway_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with an embedding model and a reranker."""
    folder = tmp_path_factory.mktemp("gateway-repository")
    export_as_8b(folder, kind="embedding")
    export_as_8b(folder, kind="reranker")
    return folder


@pytest.fixture(scope="session")
def gateway_triton(gateway_repository: Path) -> Iterator[Triton]:
    """A running Triton that serves it."""
    with Triton(gateway_repository, threads=1) as triton:
        yield triton


@pytest.fixture(scope="session")
def gateway(gateway_triton: Triton) -> Iterator[Gateway]:
    """A gateway with the default options in front of it."""
    with running(Settings(triton=gateway_triton.grpc_url)) as started:
        yield started


@pytest.fixture(scope="session")
def direct(gateway_triton: Triton) -> Iterator[Client]:
    """A client of the same Triton, whose answers the gateway's must equal."""
    with Client(gateway_triton.grpc_url) as client:
        yield client


@pytest.fixture
def http(gateway: Gateway) -> Iterator[httpx.Client]:
    """An HTTP client of the gateway."""
    with httpx.Client(base_url=gateway.url, timeout=60, trust_env=False) as client:
        yield client
