"""Other people's clients against the text models of `serve --text`, in environments without Python of ours."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from qwen3_client import Client
from qwen3_export import export
from qwen3_serve import Triton
from qwen3_serve.triton.text_tensors import TextTensors
from support.environments import clean_environment, make_environment
from support.qwen_tokenizer import build_qwen_tokenizer
from support.random_checkpoints import make_random_checkpoint

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1800)]

DOCUMENTS = ["Venus is the hottest planet.", "Юпитер — планета 🪐", "日本語のテキスト"]

START = """
import json, os, sys
url, documents = json.loads(sys.argv[1])
os.environ["NO_PROXY"] = "*"
"""

# What each library embeds `documents` as; the program prints the vectors.
EMBEDDING = {
    "litellm": (
        "document",
        ("litellm",),
        """
import litellm
answer = litellm.embedding(
    model="triton/qwen3_embedding_text", input=documents, api_base=f"{url}/v2/models/qwen3_embedding_text/infer"
)
print(json.dumps([each["embedding"] for each in answer.data]))
""",
    ),
    "litellm, queries": (
        "query",
        ("litellm",),
        """
import litellm
answer = litellm.embedding(
    model="triton/queries", input=documents, api_base=f"{url}/v2/models/qwen3_embedding_text_query/infer"
)
print(json.dumps([each["embedding"] for each in answer.data]))
""",
    ),
}


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    folder = tmp_path_factory.mktemp("genuine")
    checkpoint = make_random_checkpoint(folder / "checkpoint", vocab_size=151669)
    build_qwen_tokenizer().save(str(checkpoint / "tokenizer.json"))
    export(str(checkpoint), repository=folder / "repository", kind="embedding")
    with Triton(folder / "repository", threads=1, text=TextTensors()) as server:
        yield server


@pytest.fixture(scope="module")
def environments() -> Iterator[dict[tuple[str, ...], Path]]:
    """The interpreters of the environments that are made already, by their requirements."""
    made: dict[tuple[str, ...], Path] = {}
    yield made
    for python in made.values():
        shutil.rmtree(python.parents[1])


@pytest.mark.parametrize("name", EMBEDDING)
def test_a_library_embeds(triton: Triton, environments: dict[tuple[str, ...], Path], name: str) -> None:
    kind, requirements, program = EMBEDDING[name]
    if requirements not in environments:
        environments[requirements] = make_environment(Path(tempfile.mkdtemp(prefix="client-")) / "venv", *requirements)
    done = subprocess.run(
        [environments[requirements], "-c", START + program, json.dumps([triton.http_url, DOCUMENTS])],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    with Client(triton.grpc_url) as client:
        expected = client.encode_query(DOCUMENTS) if kind == "query" else client.encode_document(DOCUMENTS)
    np.testing.assert_array_equal(np.array(json.loads(done.stdout.splitlines()[-1]), np.float32), expected)
