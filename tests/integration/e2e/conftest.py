"""Real Tritons that the tests share, besides the one with an embedding model and a reranker in fp32."""

from collections.abc import Iterator

import pytest
from qwen3_export import export
from qwen3_serve import Triton


@pytest.fixture(scope="session")
def triton_int8(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """A running Triton that serves the tiny embedding model in int8."""
    folder = tmp_path_factory.mktemp("int8")
    export("tiny", repository=folder, precision="int8")
    with Triton(folder, threads=1) as server:
        yield server


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """A running Triton that serves `demo`, whose answers the pages show."""
    folder = tmp_path_factory.mktemp("demo")
    export("demo", repository=folder)
    with Triton(folder, threads=1) as server:
        yield server


@pytest.fixture(params=["fp32", "int8"])
def either(request: pytest.FixtureRequest) -> Triton:
    """Each of the two servers in turn."""
    server: Triton = request.getfixturevalue("triton" if request.param == "fp32" else "triton_int8")
    return server
