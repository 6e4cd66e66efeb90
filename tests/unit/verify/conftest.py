"""A small repository of exported models, and the command as a user types it."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from qwen3_export import export
from support.verify import Done, run_verify


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An embedding model in two precisions and a reranker."""
    folder = tmp_path_factory.mktemp("repository")
    export("tiny", repository=folder)
    export("tiny", repository=folder, name="qwen3_embedding_int8", precision="int8")
    export("tiny", repository=folder, kind="reranker")
    return folder


@pytest.fixture
def copy(repository: Path, tmp_path: Path) -> Path:
    """A repository to spoil: the fp32 embedding model alone."""
    target = tmp_path / "repository"
    shutil.copytree(repository / "qwen3_embedding", target / "qwen3_embedding")
    return target


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Run ``verify`` with a repository and arguments."""
    return functools.partial(run_verify, capsys)
