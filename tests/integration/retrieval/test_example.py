"""examples/retrieval as a whole: corpus, real Triton, both databases, reranker."""

import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from documents import SpaceError, read_documents
from pyarrow import parquet
from qwen3_client import Client, ContractMismatchError
from qwen3_export import export
from qwen3_serve import Triton

pytestmark = pytest.mark.retrieval

EXAMPLE = Path(__file__).parents[3] / "examples" / "retrieval" / "retrieve.py"
STAGE = re.compile(r"^  (.+?) +([01]\.\d{3}) +[\d.]+ ms +[01]\.\d\d$", re.MULTILINE)


def run(folder: Path, *options: str) -> str:
    command = [sys.executable, str(EXAMPLE), str(folder), "--documents", "400", "--queries", "12", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with exported models, in which the example has run once, with LanceDB."""
    folder = tmp_path_factory.mktemp("retrieval")
    export("tiny", repository=folder / "models")
    export("tiny", repository=folder / "models", kind="reranker")
    printed = run(folder)
    assert "wrote" in printed
    assert "ANNSubIndex" in printed
    check_stages(printed)
    return folder


def check_stages(printed: str) -> None:
    stages = {name: float(recall) for name, recall in STAGE.findall(printed)}
    assert len(stages) == 5, printed
    assert stages["exact, float16"] >= 0.95
    for name in ("bits by Hamming", "first dimensions"):
        # Rescoring keeps the best of the candidates, as far as float16 can tell them apart.
        assert stages[f"{name}, then full vectors"] == pytest.approx(stages[f"{name}: 200 candidates"], abs=0.05)
        assert stages[f"{name}: 200 candidates"] >= 0.5  # half of the documents are candidates
    assert "reranking 20 candidates" in printed
    assert "These weights are random" in printed


def test_a_second_run_with_postgres_embeds_nothing_again(folder: Path) -> None:
    before = (folder / "vectors-400.parquet").stat().st_mtime_ns
    printed = run(folder, "--postgres")
    check_stages(printed)
    assert "Index Scan using" in printed
    assert "wrote" not in printed
    assert (folder / "vectors-400.parquet").stat().st_mtime_ns == before


def test_a_client_of_another_model_may_not_ask(folder: Path) -> None:
    from lance_store import LanceStore

    kept = LanceStore(folder / "lance", table="retrieval_example").fingerprint
    about = read_documents(folder / "corpus-400.parquet", folder / "vectors-400.parquet").about
    assert kept == about["fingerprint"]
    export("tiny", repository=folder / "others", precision="int8")
    with (
        Triton(folder / "others", threads=1) as triton,
        Client(triton.grpc_url, expected_fingerprint=kept) as client,
        pytest.raises(ContractMismatchError),
    ):
        client.encode_query("red")


def test_vectors_of_another_corpus_are_refused(folder: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.parquet"
    parquet.write_table(pa.table({"id": [1, 2], "text": ["a", "b"]}), corpus)
    with pytest.raises(SpaceError, match="belongs to another corpus"):
        read_documents(corpus, folder / "vectors-400.parquet")


def test_vectors_of_an_unknown_model_are_refused(tmp_path: Path) -> None:
    corpus, vectors = tmp_path / "corpus.parquet", tmp_path / "vectors.parquet"
    parquet.write_table(pa.table({"id": [1], "text": ["a"]}), corpus)
    parquet.write_table(pa.table({"id": [1], "embedding": [[1.0]]}), vectors)
    with pytest.raises(SpaceError, match="does not say which model made it"):
        read_documents(corpus, vectors)
