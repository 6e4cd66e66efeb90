"""A small repository of exported models, and the command as a user types it."""

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from qwen3_export import export
from qwen3_export.model_directory.manifest import sha256
from support.checkpoints import Shape, make_checkpoint
from support.verify import Done, run_verify


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"), Shape())


@pytest.fixture(scope="session")
def repository(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An embedding model in two precisions and a reranker, all of the same weights."""
    folder = tmp_path_factory.mktemp("repository")
    export(str(checkpoint), repository=folder)
    export(str(checkpoint), repository=folder, name="qwen3_embedding_int8", precision="int8")
    export(str(checkpoint), repository=folder, kind="reranker")
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


@pytest.fixture
def state_again() -> Callable[[Path], None]:
    """Make the manifest true again after a file was changed, so that only a comparison can tell."""

    def state(directory: Path) -> None:
        path = directory / "manifest.json"
        manifest = json.loads(path.read_text())
        for name in manifest["files"]:
            file = directory / name
            manifest["files"][name] = {"bytes": file.stat().st_size, "sha256": sha256(file)}
        path.write_text(json.dumps(manifest))

    return state
