"""Real Tritons that the tests share: an embedding model with a reranker, and an int8 embedding model."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from qwen3_export import export
from qwen3_serve import Triton


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the tiny model as ``qwen3_embedding`` and as ``qwen3_reranker``, both fp32."""
    folder = tmp_path_factory.mktemp("repository")
    export("tiny", repository=folder)
    export("tiny", repository=folder, kind="reranker")
    return folder


@pytest.fixture(scope="session")
def triton(repository: Path) -> Iterator[Triton]:
    """A running Triton that serves it."""
    with Triton(repository, threads=1) as server:
        yield server


@pytest.fixture(scope="session")
def triton_int8(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """A running Triton that serves the tiny embedding model in int8."""
    folder = tmp_path_factory.mktemp("int8")
    export("tiny", repository=folder, precision="int8")
    with Triton(folder, threads=1) as server:
        yield server


@pytest.fixture(params=["fp32", "int8"])
def either(request: pytest.FixtureRequest) -> Triton:
    """Each of the two servers in turn."""
    server: Triton = request.getfixturevalue("triton" if request.param == "fp32" else "triton_int8")
    return server
