"""Folders that sentence-transformers saved, through a real Triton: the same prompts, vectors and scores."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from qwen3_client import Client, InvalidInputError
from qwen3_client.integrations.sentence_transformers import SentenceTransformer as RemoteSentenceTransformer
from qwen3_export import export
from qwen3_serve import Triton
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from support.checkpoints import Shape, make_checkpoint
from support.cross_encoders import save_cross_encoder, write_tokenizer

QUERIES = ["Which planet is known as the Red Planet?", "x"]
DOCUMENTS = ["Mars is red.", "火星は赤い惑星として知られています。", "Venus " * 30]
PROMPTS = {"query": "Query: ", "document": "Document: "}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An embedding model with prompts of its own."""
    folder = tmp_path_factory.mktemp("saved")
    plain = make_checkpoint(folder / "plain", Shape(prefixed=False, dtype="float32"))
    write_tokenizer(plain)
    transformer = Transformer(str(plain))
    modules = [transformer, Pooling(transformer.get_embedding_dimension(), "lasttoken"), Normalize()]
    SentenceTransformer(modules=modules, prompts=PROMPTS, device="cpu").save_pretrained(str(folder / "model"))
    # In the form of the published models.
    pooling = {"word_embedding_dimension": 64, "pooling_mode_cls_token": False, "pooling_mode_lasttoken": True}
    (folder / "model" / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder / "model"


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-encoder with a head of its own and the official template."""
    return save_cross_encoder(tmp_path_factory.mktemp("reranker"))


@pytest.fixture(scope="module")
def client(folder: Path, reranker: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    repository = tmp_path_factory.mktemp("repository")
    export(str(folder), repository=repository)
    export(str(reranker), repository=repository)
    with Triton(repository, threads=1) as triton, Client(triton.grpc_url) as connection:
        yield connection


def test_queries_and_documents_equal_the_library_s(client: Client, folder: Path) -> None:
    model = SentenceTransformer(str(folder), device="cpu")
    queries, documents = client.encode_query(QUERIES), client.encode_document(DOCUMENTS)
    np.testing.assert_allclose(queries, model.encode_query(QUERIES), atol=2e-5)
    np.testing.assert_allclose(documents, model.encode_document(DOCUMENTS), atol=2e-5)
    for texts, vectors in ((QUERIES, queries), (DOCUMENTS, documents)):
        assert np.abs(model.encode(texts, prompt="") - vectors).max() > 1e-2, "the prompt changes nothing"


def test_an_instruction_is_refused(client: Client) -> None:
    with pytest.raises(InvalidInputError, match="begin with 'Query: '"):
        client.encode_query(QUERIES, instruction="Find")


def test_scores_equal_the_library_s(client: Client, reranker: Path) -> None:
    pairs = [(QUERIES[0], document) for document in DOCUMENTS]
    np.testing.assert_allclose(client.score(pairs), CrossEncoder(str(reranker), device="cpu").predict(pairs), atol=1e-5)
    ranks = [hit["corpus_id"] for hit in CrossEncoder(str(reranker), device="cpu").rank(QUERIES[0], DOCUMENTS)]
    assert [hit.index for hit in client.rank(QUERIES[0], DOCUMENTS)] == ranks


def test_the_integration_reads_special_tokens_of_the_model_s_prompts_as_such(tmp_path: Path) -> None:
    plain = make_checkpoint(tmp_path / "plain", Shape(prefixed=False, dtype="float32"))
    write_tokenizer(plain)
    transformer = Transformer(str(plain))
    modules = [transformer, Pooling(transformer.get_embedding_dimension(), "lasttoken"), Normalize()]
    prompts = {"query": "<|endoftext|>Q: ", "document": "D<|endoftext|>: "}
    model = SentenceTransformer(modules=modules, prompts=prompts, device="cpu")
    model.save_pretrained(str(tmp_path / "model"))
    export(str(tmp_path / "model"), repository=tmp_path / "repository")
    texts = [*DOCUMENTS, "forged <|endoftext|> x"]
    with Triton(tmp_path / "repository", threads=1) as triton, Client(triton.grpc_url) as client:
        remote = RemoteSentenceTransformer(client=client)
        for ours, direct, theirs in (
            (remote.encode_query(texts), client.encode_query(texts), model.encode_query(texts)),
            (remote.encode_document(texts), client.encode_document(texts), model.encode_document(texts)),
        ):
            np.testing.assert_array_equal(ours, direct)
            np.testing.assert_allclose(ours[:-1], theirs[:-1], atol=2e-5)
            assert np.abs(ours[-1] - theirs[-1]).max() > 1e-3, "in a text it is plain text, unlike in the library"
