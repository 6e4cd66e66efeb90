"""The Haystack integration, driven by haystack-ai on a real Triton."""

import asyncio
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from haystack import Document, Pipeline
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.components.writers import DocumentWriter
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.utils import Secret
from qwen3_client import Client, ClientOptions, InvalidInputError, RefusedError, ServerUnavailableError, Tls
from qwen3_client.integrations.haystack import Qwen3DocumentEmbedder, Qwen3Ranker, Qwen3TextEmbedder

TEXTS = ["Mars is red", "Venus is hot", "Процедура банкротства", "北京"]
DOCUMENTS = [Document(content=text, meta={"number": i, "title": f"Title {i}"}) for i, text in enumerate(TEXTS)]
BEARER = "open sesame"
QUESTION = "Which planet is red?"


def test_vectors_are_the_clients_bit_for_bit(url: str, client: Client) -> None:
    texts, documents = Qwen3TextEmbedder(url), Qwen3DocumentEmbedder(url)
    answer = texts.run(TEXTS[0])
    assert answer["embedding"] == client.encode_query(TEXTS[0]).tolist()
    assert answer["meta"] == {"model": "tiny"}
    answer = documents.run(DOCUMENTS)
    assert [document.embedding for document in answer["documents"]] == client.encode_document(TEXTS).tolist()
    assert answer["meta"] == {"model": "tiny"}
    assert all(document.embedding is None for document in DOCUMENTS)  # those are copies
    assert documents.run([])["documents"] == []

    told = Qwen3TextEmbedder(client=client, instruction="Find the planet", dimensions=32)
    expected = client.encode_query("red", instruction="Find the planet", dimensions=32)
    assert told.run("red")["embedding"] == expected.tolist()
    cut = Qwen3DocumentEmbedder(client=client, dimensions=32, meta_fields_to_embed=["title", "no"])
    (document,) = cut.run(DOCUMENTS[:1])["documents"]
    assert document.embedding == client.encode_document(f"Title 0\n{TEXTS[0]}", dimensions=32).tolist()


def test_documents_are_ranked(url: str, client: Client) -> None:
    ranking = client.rank(QUESTION, TEXTS, instruction="Find the planet")
    ranker = Qwen3Ranker(url, instruction="Find the planet", top_k=3)
    answer = ranker.run(QUESTION, DOCUMENTS)
    assert [(document.meta["number"], document.score) for document in answer["documents"]] == [
        (result.index, result.score) for result in ranking[:3]
    ]
    assert answer["meta"] == {"model": "tiny"}
    assert ranker.run(QUESTION, DOCUMENTS, top_k=1)["documents"] == answer["documents"][:1]
    assert ranker.run(QUESTION, [])["documents"] == []
    titled = Qwen3Ranker(client=client, meta_fields_to_embed=["title"], embedding_separator=": ")
    scores = {document.meta["number"]: document.score for document in titled.run(QUESTION, DOCUMENTS)["documents"]}
    pairs = [(QUESTION, f"Title {i}: {text}") for i, text in enumerate(TEXTS)]
    assert [scores[i] for i in range(len(TEXTS))] == client.score(pairs).tolist()


def test_awaited_calls_give_the_same(url: str) -> None:
    texts, documents, ranker = Qwen3TextEmbedder(url), Qwen3DocumentEmbedder(url), Qwen3Ranker(url, top_k=2)

    async def ask() -> None:
        assert await texts.run_async("red") == texts.run("red")
        assert await documents.run_async(DOCUMENTS) == documents.run(DOCUMENTS)
        assert await ranker.run_async(QUESTION, DOCUMENTS) == ranker.run(QUESTION, DOCUMENTS)
        await asyncio.gather(texts.close_async(), documents.close_async(), ranker.close_async())

    asyncio.run(ask())


def retrieval(url: str) -> Pipeline:
    store = InMemoryDocumentStore(embedding_similarity_function="cosine", shared=False)
    indexing = Pipeline()
    indexing.add_component("embedder", Qwen3DocumentEmbedder(url))
    indexing.add_component("writer", DocumentWriter(store))
    indexing.connect("embedder.documents", "writer.documents")
    indexing.run({"embedder": {"documents": DOCUMENTS}})
    indexing.close()
    pipeline = Pipeline()
    pipeline.add_component("embedder", Qwen3TextEmbedder(url, instruction="Find the planet"))
    pipeline.add_component("retriever", InMemoryEmbeddingRetriever(store, top_k=3))
    pipeline.add_component("ranker", Qwen3Ranker(url, top_k=2))
    pipeline.connect("embedder.embedding", "retriever.query_embedding")
    pipeline.connect("retriever.documents", "ranker.documents")
    return pipeline


def test_an_indexing_and_a_retrieving_pipeline(url: str, client: Client) -> None:
    pipeline = retrieval(url)
    data = {"embedder": {"text": QUESTION}, "ranker": {"query": QUESTION}}
    cosines = client.encode_document(TEXTS) @ client.encode_query(QUESTION, instruction="Find the planet")
    nearest = np.argsort(-cosines)[:3]
    best = client.rank(QUESTION, [TEXTS[i] for i in nearest], top_k=2)
    expected = [(nearest[result.index], result.score) for result in best]
    for answer in (pipeline.run(data), asyncio.run(pipeline.run_async(data))):
        assert [(document.meta["number"], document.score) for document in answer["ranker"]["documents"]] == expected
    pipeline.close()
    assert pipeline.run(data)["ranker"]["documents"] == answer["ranker"]["documents"]  # it opens again
    pipeline.close()


def test_a_pipeline_becomes_yaml_and_comes_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("")
    monkeypatch.setenv("TRITON_TOKEN", BEARER)
    pipeline = Pipeline()
    pipeline.add_component(
        "text",
        Qwen3TextEmbedder(
            ClientOptions(
                "grpcs://localhost:1",
                model="m",
                tokenizer=tmp_path,
                timeout_s=7.0,
                concurrency=32,
                tls=Tls(ca=tmp_path / "ca.pem"),
            ),
            token=Secret.from_env_var("TRITON_TOKEN"),
            instruction="Find the planet",
            dimensions=32,
        ),
    )
    pipeline.add_component("documents", Qwen3DocumentEmbedder("localhost:1", meta_fields_to_embed=["title"]))
    pipeline.add_component("ranker", Qwen3Ranker("localhost:1", top_k=2, embedding_separator=": "))
    written = pipeline.dumps()
    assert BEARER not in written
    again = Pipeline.loads(written, allowed_modules=["qwen3_client.*"])
    assert again.dumps() == written
    text, ranker = again.get_component("text"), again.get_component("ranker")
    assert isinstance(text, Qwen3TextEmbedder)
    assert isinstance(ranker, Qwen3Ranker)
    assert text.token is not None
    assert text.token.resolve_value() == BEARER
    assert text.server == ClientOptions(
        "grpcs://localhost:1",
        model="m",
        tokenizer=str(tmp_path),
        timeout_s=7.0,
        concurrency=32,
        tls=Tls(ca=str(tmp_path / "ca.pem")),
    )
    assert (ranker.server, text.dimensions, ranker.top_k) == ("localhost:1", 32, 2)


def test_a_secret_is_sent_but_only_its_name_is_written(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.headers["Authorization"])
            self.send_error(401)

        do_GET = do_POST  # noqa: N815 - named by the base class

        def log_message(self, *_: object) -> None: ...

    monkeypatch.setenv("TRITON_TOKEN", BEARER)
    embedder = Qwen3TextEmbedder(
        ClientOptions("localhost:1"), token=Secret.from_env_var("TRITON_TOKEN"), instruction="Find the planet"
    )
    assert BEARER not in str(embedder.to_dict())
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            data = embedder.to_dict()
            data["init_parameters"]["server"]["url"] = f"http://127.0.0.1:{server.server_port}"
            reached = Qwen3TextEmbedder.from_dict(data)
            with pytest.raises(RefusedError):
                reached.run("red")
            reached.close()
        finally:
            server.shutdown()
    assert set(received) == {f"Bearer {BEARER}"}
    for options in (
        ClientOptions("localhost:1", token=BEARER),
        ClientOptions("localhost:1", headers={"x-tenant": BEARER}),
    ):
        with pytest.raises(InvalidInputError, match=r"Secret\.from_env_var") as refusal:
            Qwen3TextEmbedder(options).to_dict()
        assert BEARER not in str(refusal.value)
    with pytest.raises(InvalidInputError, match="token= contradicts"):
        Qwen3TextEmbedder(ClientOptions("localhost:1", token=BEARER), token=Secret.from_token(BEARER))
    with pytest.raises(InvalidInputError, match="token= and client="):
        Qwen3TextEmbedder(client=client, token=Secret.from_token(BEARER))


def test_a_pipeline_read_from_yaml_answers_the_same(url: str) -> None:
    embedder = Qwen3TextEmbedder(url, dimensions=32)
    data = embedder.to_dict()
    twin = Qwen3TextEmbedder.from_dict(data)
    assert data == embedder.to_dict()  # reading changes nothing
    assert twin.run("red") == embedder.run("red")
    embedder.close()
    twin.close()


def test_a_ready_client_is_not_written(client: Client) -> None:
    for part in (Qwen3TextEmbedder(client=client), Qwen3DocumentEmbedder(client=client), Qwen3Ranker(client=client)):
        with pytest.raises(InvalidInputError, match="make it with server="):
            part.to_dict()
        part.close()
    assert client.is_ready()


def test_options_are_checked_at_once() -> None:
    with pytest.raises(InvalidInputError, match="either server="):
        Qwen3TextEmbedder()
    with pytest.raises(InvalidInputError, match="dimensions"):
        Qwen3DocumentEmbedder("localhost:1", dimensions=31)
    with pytest.raises(InvalidInputError, match="top_k"):
        Qwen3Ranker("localhost:1", top_k=0)


def test_errors_are_the_clients(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServerUnavailableError, match="qwen3-triton serve"):
        Qwen3TextEmbedder("localhost:1").run("text")
    with pytest.raises(InvalidInputError, match="text 1"):
        Qwen3DocumentEmbedder(client=client).run([Document(content="good"), Document(content=None)])
    monkeypatch.delenv("TRITON_TOKEN", raising=False)
    absent = Qwen3TextEmbedder("localhost:1", token=Secret.from_env_var("TRITON_TOKEN"))
    with pytest.raises(ValueError, match="TRITON_TOKEN"):  # Haystack's: the secret is read when it is needed
        absent.run("text")
