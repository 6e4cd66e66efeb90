"""Model directories that earlier states of the exporter wrote: they still serve, verify, and take a new version.

They hold a host of their own in `1/`, where today's exports import the installed one.
"""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from qwen3_client import Client
from qwen3_export import export
from qwen3_export.checkpoint.random_checkpoint import write_random_checkpoint
from qwen3_export.checkpoint.tiny import TINY_CONFIG, write_byte_tokenizer
from qwen3_serve import ServeError, Triton

DATA = Path(__file__).parents[1] / "data" / "old_exports"
CONFIG = TINY_CONFIG | {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 32,
    "max_position_embeddings": 512,
}
INSTRUCTION = "Find the passage that answers the question"
TEXTS = [f"text {'x' * (9 * i)}" for i in range(8)]

pytestmark = pytest.mark.parametrize("export_name", ["before-prefixes", "own-host"])
has_numpy_2 = np.lib.NumpyVersion(np.__version__) >= "2.0.0"
needs_numpy_1 = pytest.mark.skipif(has_numpy_2, reason="hosts in old exports give empty tensors with numpy 2")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint that the old exports were made from."""
    folder = tmp_path_factory.mktemp("checkpoint")
    write_random_checkpoint(folder, CONFIG, std=1 / 6)
    write_byte_tokenizer(folder)
    return folder


@pytest.fixture
def repository(export_name: str, tmp_path: Path) -> Path:
    with tarfile.open(DATA / f"{export_name}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


@needs_numpy_1
def test_an_old_export_gives_what_a_new_one_gives(repository: Path, checkpoint: Path) -> None:
    for kind in ("embedding", "reranker"):
        export(str(checkpoint), repository=repository, kind=kind, name=f"new_{kind}")
    rows, scores = {}, {}
    with Triton(repository, threads=1, check="full") as triton:
        for age in ("qwen3", "new"):
            with Client(
                triton.grpc_url,
                model=f"{age}_embedding",
                reranker=f"{age}_reranker",
                tokenizer=checkpoint,
                reranker_tokenizer=checkpoint,
            ) as client:
                rows[age] = client.encode_query([*TEXTS, *TEXTS], instruction=INSTRUCTION)
                scores[age] = client.score([("a question", text) for text in TEXTS])
    np.testing.assert_allclose(rows["qwen3"], rows["new"], atol=1e-6)
    np.testing.assert_allclose(scores["qwen3"], scores["new"], atol=1e-6)
    assert np.ptp(rows["new"], axis=0).max() > 0.01, "the texts have different vectors"


@pytest.mark.skipif(not has_numpy_2, reason="hosts in old exports work with numpy 1")
def test_with_numpy_2_the_message_says_what_to_do(repository: Path) -> None:
    with pytest.raises(ServeError, match=r"Export it again with --force: .* numpy 2"):
        Triton(repository, threads=1).__enter__()


def test_the_files_of_an_old_export_can_be_verified(repository: Path) -> None:
    command = [sys.executable, "-m", "qwen3_client", "verify", "--files", "--repository", str(repository)]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 2 models pass" in done.stdout


def test_a_new_version_in_an_old_directory_is_served(repository: Path, checkpoint: Path) -> None:
    exported = export(str(checkpoint), repository=repository, kind="embedding", version=2)
    export(str(checkpoint), repository=repository, kind="reranker", version=2)
    assert (exported.directory / "1" / "model.py").is_file(), "the old version stays"
    with Triton(repository, threads=1, check="full") as triton:
        with Client(triton.grpc_url, tokenizer=checkpoint) as client:
            rows = client.encode_document(TEXTS)
        assert triton.models()["qwen3_embedding"]["source"] == str(checkpoint)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
