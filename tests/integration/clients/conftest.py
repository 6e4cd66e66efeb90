"""A gateway to models with the genuine vocabulary, and the table of the clients that pass.

The weights are random. As with the published model, ids of another vocabulary are valid, and mean other texts.
"""

from collections.abc import Iterator

import pytest
from qwen3_client import Client
from qwen3_export import export
from qwen3_serve import Triton
from qwen3_serve.gateway import Settings
from support.clients import Report
from support.gateway import Gateway, running
from support.qwen_tokenizer import build_qwen_tokenizer
from support.random_checkpoints import make_random_checkpoint


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """A running Triton with an embedding model that has the genuine vocabulary, and a reranker."""
    folder = tmp_path_factory.mktemp("genuine")
    checkpoint = make_random_checkpoint(folder / "checkpoint", vocab_size=151669)
    build_qwen_tokenizer().save(str(checkpoint / "tokenizer.json"))
    export(str(checkpoint), repository=folder / "repository", kind="embedding")
    export("tiny", repository=folder / "repository", kind="reranker")
    with Triton(folder / "repository", threads=1) as triton:
        yield triton


@pytest.fixture(scope="session")
def gateway(triton: Triton) -> Iterator[Gateway]:
    """A gateway in front of it, with the names of models that some clients insist on."""
    settings = Settings(
        triton=triton.grpc_url,
        model_aliases=("text-embedding-3-small", "embed-v4.0"),
        reranker_aliases=("qwen/qwen3-reranker", "rerank-v4.0-pro"),
    )
    with running(settings) as started:
        yield started


@pytest.fixture(scope="session")
def direct(triton: Triton) -> Iterator[Client]:
    """Our own client of the same Triton, whose answers the gateway's must equal."""
    with Client(triton.grpc_url) as client:
        yield client


@pytest.fixture(scope="session")
def report() -> Iterator[Report]:
    """The table of what passed, which is printed at the end."""
    kept = Report()
    yield kept
    print(f"\n\n{kept}")
