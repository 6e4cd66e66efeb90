"""One real Triton for the module's tests: the tiny model in both precisions."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from qwen3_export import export
from qwen3_serve import Triton
from support.models import MODELS


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the tiny model as ``qwen3_embedding`` (fp32) and ``qwen3_embedding_int8``."""
    folder = tmp_path_factory.mktemp("repository")
    export("tiny", repository=folder, name=MODELS["fp32"])
    export("tiny", repository=folder, name=MODELS["int8"], precision="int8")
    return folder


@pytest.fixture(scope="session")
def triton(repository: Path) -> Iterator[Triton]:
    """A running Triton that serves it."""
    with Triton(repository, threads=1) as server:
        yield server
