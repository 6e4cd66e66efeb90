"""A real Triton that tests of several folders share: an embedding model with a reranker."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from qwen3_export import export
from qwen3_serve import Triton


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the tiny model as `qwen3_embedding` and as `qwen3_reranker`, both fp32."""
    folder = tmp_path_factory.mktemp("repository")
    export("tiny", repository=folder)
    export("tiny", repository=folder, kind="reranker")
    return folder


@pytest.fixture(scope="session")
def triton(repository: Path) -> Iterator[Triton]:
    """A running Triton that serves it."""
    with Triton(repository, threads=1) as server:
        yield server
