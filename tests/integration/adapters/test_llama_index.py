"""The LlamaIndex integration, driven by llama-index-core on a real Triton."""

import asyncio
import pickle
from pathlib import Path

import numpy as np
import pydantic
import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.llms import MockLLM
from llama_index.core.schema import MetadataMode, NodeWithScore, TextNode
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base import BaseEvent
from llama_index_instrumentation.event_handlers import BaseEventHandler
from qwen3_client import Client, ClientOptions, InvalidInputError, ServerUnavailableError, Tls
from qwen3_client.integrations.llama_index import Qwen3Embedding, Qwen3Rerank

TEXTS = ["Mars is red", "Venus is hot", "Процедура банкротства", "北京"]
NODES = [NodeWithScore(node=TextNode(text=text, id_=str(i)), score=0.5) for i, text in enumerate(TEXTS)]
BEARER = "open sesame"
QUESTION = "Which planet is red?"


def test_vectors_are_the_clients_bit_for_bit(url: str, client: Client) -> None:
    plain = Qwen3Embedding(server=url)
    assert plain.get_text_embedding_batch(TEXTS) == client.encode_document(TEXTS).tolist()
    assert plain.get_text_embedding(TEXTS[0]) == client.encode_document(TEXTS[0]).tolist()
    assert plain.get_query_embedding(TEXTS[0]) == client.encode_query(TEXTS[0]).tolist()
    plain.close()

    told = Qwen3Embedding(client=client, instruction="Find the planet", dimensions=32, embed_batch_size=3)
    expected = client.encode_query("red", instruction="Find the planet", dimensions=32)
    assert told.get_query_embedding("red") == expected.tolist()
    assert told.get_text_embedding_batch(TEXTS) == client.encode_document(TEXTS, dimensions=32).tolist()


def test_awaited_calls_give_the_same(url: str) -> None:
    embedding = Qwen3Embedding(server=url, instruction="Find the planet", dimensions=32, embed_batch_size=3)
    reranker = Qwen3Rerank(server=url, top_n=2)

    async def ask() -> None:
        assert await embedding.aget_text_embedding_batch(TEXTS) == embedding.get_text_embedding_batch(TEXTS)
        assert await embedding.aget_text_embedding("red") == embedding.get_text_embedding("red")
        assert await embedding.aget_query_embedding("red") == embedding.get_query_embedding("red")
        ranked = await reranker.apostprocess_nodes(NODES, query_str=QUESTION)
        assert ranked == reranker.postprocess_nodes(NODES, query_str=QUESTION)
        await asyncio.gather(embedding.aclose(), reranker.aclose())

    asyncio.run(ask())


def test_nodes_are_ranked_by_what_is_embedded_of_them(url: str, client: Client) -> None:
    nodes = [
        NodeWithScore(
            node=TextNode(text=text, metadata={"author": "Ann", "page": i}, excluded_embed_metadata_keys=["page"])
        )
        for i, text in enumerate(TEXTS)
    ]
    texts = [node.node.get_content(metadata_mode=MetadataMode.EMBED) for node in nodes]
    assert "Ann" in texts[0]
    assert "page" not in texts[0]
    ranking = client.rank(QUESTION, texts, instruction="Find the planet")
    reranker = Qwen3Rerank(server=url, instruction="Find the planet")
    ranked = reranker.postprocess_nodes(nodes, query_str=QUESTION)
    assert [(node.node, node.score) for node in ranked] == [
        (nodes[result.index].node, result.score) for result in ranking
    ]
    assert all(node.score is None for node in nodes)  # the given ones are as they were
    best = Qwen3Rerank(client=client, instruction="Find the planet", top_n=1)
    assert best.postprocess_nodes(nodes, query_str=QUESTION) == ranked[:1]
    assert best.postprocess_nodes([], query_str=QUESTION) == []
    reranker.close()


def test_an_index_a_retriever_and_a_postprocessor(url: str, client: Client) -> None:
    embedding = Qwen3Embedding(server=url)
    index = VectorStoreIndex.from_documents(
        [Document(text=text, doc_id=str(i)) for i, text in enumerate(TEXTS)], embed_model=embedding
    )
    cosines = client.encode_document(TEXTS) @ client.encode_query(QUESTION)
    nearest = np.argsort(-cosines)[:3]
    found = index.as_retriever(similarity_top_k=3).retrieve(QUESTION)
    assert [node.node.ref_doc_id for node in found] == [str(i) for i in nearest]
    np.testing.assert_allclose([node.get_score() for node in found], cosines[nearest], rtol=1e-5)

    engine = index.as_query_engine(
        llm=MockLLM(), similarity_top_k=3, node_postprocessors=[Qwen3Rerank(server=url, top_n=2)]
    )
    best = client.rank(QUESTION, [TEXTS[i] for i in nearest], top_k=2)
    for answer in (engine.query(QUESTION), asyncio.run(engine.aquery(QUESTION))):
        assert [node.score for node in answer.source_nodes] == [result.score for result in best]
        assert [node.node.ref_doc_id for node in answer.source_nodes] == [str(nearest[result.index]) for result in best]


def test_a_step_of_an_ingestion_pipeline(url: str, client: Client) -> None:
    pipeline = IngestionPipeline(transformations=[Qwen3Embedding(server=url), Qwen3Embedding(client=client)])
    nodes = pipeline.run(documents=[Document(text=text) for text in TEXTS])
    assert [node.get_embedding() for node in nodes] == client.encode_document(TEXTS).tolist()


def test_rerankings_are_reported(client: Client) -> None:
    events: list[BaseEvent] = []

    class Recorder(BaseEventHandler):
        def handle(self, event: BaseEvent, **_: object) -> None:
            events.append(event)

    handler = LlamaDebugHandler(print_trace_on_end=False)
    reranker = Qwen3Rerank(client=client, top_n=1, callback_manager=CallbackManager([handler]))
    dispatcher = get_dispatcher("qwen3_client.integrations.llama_index")
    dispatcher.add_event_handler(Recorder())
    try:
        ranked = reranker.postprocess_nodes(NODES, query_str=QUESTION)
    finally:
        dispatcher.event_handlers.pop()
    start, end = (event for event in events if isinstance(event, (ReRankStartEvent, ReRankEndEvent)))
    assert isinstance(start, ReRankStartEvent)
    assert (start.query, start.top_n) == (QUESTION, 1)
    assert isinstance(end, ReRankEndEvent)
    assert end.nodes == ranked
    assert start.model_name == "Qwen3-Reranker"
    ((begun, ended),) = handler.get_event_pairs(CBEventType.RERANKING)
    assert begun.payload is not None
    assert ended.payload == {"nodes": ranked}


def test_written_and_read(url: str, tmp_path: Path) -> None:
    options = ClientOptions(url, token=BEARER, headers={"x-tenant": BEARER})
    embedding = Qwen3Embedding(server=options, instruction="Find the planet", dimensions=32)
    data = embedding.to_dict()
    assert data["class_name"] == "Qwen3Embedding"
    assert BEARER not in embedding.to_json() + repr(embedding)
    expected = embedding.get_query_embedding("red")
    for twin in (
        Qwen3Embedding.from_dict(data, server=options),
        Qwen3Embedding.from_json(embedding.to_json()),
        pickle.loads(pickle.dumps(embedding)),  # noqa: S301 - our own bytes
    ):
        embedding.close()
        assert twin.get_query_embedding("red") == expected
        twin.close()

    reranker = Qwen3Rerank(server=url, instruction="Find the planet", top_n=2)
    ranked = reranker.postprocess_nodes(NODES, query_str=QUESTION)
    for copy in (Qwen3Rerank.from_dict(reranker.to_dict()), pickle.loads(pickle.dumps(reranker))):  # noqa: S301
        reranker.close()
        assert copy.postprocess_nodes(NODES, query_str=QUESTION) == ranked
        copy.close()
    (tmp_path / "ca.pem").write_text("")
    ca = str(tmp_path / "ca.pem")
    remote = ClientOptions("grpcs://localhost:1", reranker="r", concurrency=3, tls=Tls(ca=tmp_path / "ca.pem"))
    read = Qwen3Rerank.from_json(Qwen3Rerank(server=remote).to_json())
    assert read.server == ClientOptions("grpcs://localhost:1", reranker="r", concurrency=3, tls=Tls(ca=ca))


def test_a_ready_client_must_be_given_again(client: Client) -> None:
    embedding, reranker = Qwen3Embedding(client=client), Qwen3Rerank(client=client)
    for integration in (embedding, reranker):
        with pytest.raises(InvalidInputError, match="make it with server="):
            pickle.dumps(integration)
    with pytest.raises(pydantic.ValidationError, match="either server="):
        Qwen3Embedding.from_dict(embedding.to_dict())
    again = Qwen3Embedding.from_dict(embedding.to_dict(), client=client)
    assert again.get_query_embedding("red") == embedding.get_query_embedding("red")


def test_options_are_checked_at_once() -> None:
    for options in ({}, {"server": "ftp://localhost"}, {"server": "localhost:1", "dimensions": 31}):
        with pytest.raises(pydantic.ValidationError):
            Qwen3Embedding.from_dict(options)
    with pytest.raises(pydantic.ValidationError, match="top_n"):
        Qwen3Rerank(server="localhost:1", top_n=0)


def test_errors_are_the_clients(client: Client) -> None:
    with pytest.raises(ServerUnavailableError, match="qwen3-triton serve"):
        Qwen3Embedding(server="localhost:1").get_query_embedding("text")
    with pytest.raises(InvalidInputError, match="text 1"):
        Qwen3Embedding(client=client).get_text_embedding_batch(["good", ""])
    with pytest.raises(InvalidInputError, match="query_str="):
        Qwen3Rerank(client=client).postprocess_nodes(NODES)
