"""The LangChain integration, driven by langchain-core on a real Triton."""

import asyncio
import pickle

import numpy as np
import pydantic
import pytest
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda
from langchain_core.vectorstores import InMemoryVectorStore
from qwen3_client import AsyncClient, Client, ClientOptions, InvalidInputError, ServerUnavailableError
from qwen3_client.integrations.langchain import Qwen3Embeddings, Qwen3Reranker

TEXTS = ["Mars is red", "Venus is hot", "Процедура банкротства", "北京"]
BEARER = "open sesame"
DOCUMENTS = [Document(page_content=text, metadata={"number": i}) for i, text in enumerate(TEXTS)]


def test_vectors_are_the_clients_bit_for_bit(url: str, client: Client) -> None:
    plain = Qwen3Embeddings(url)
    assert plain.embed_documents(TEXTS) == client.encode_document(TEXTS).tolist()
    assert plain.embed_query(TEXTS[0]) == client.encode_query(TEXTS[0]).tolist()
    assert plain.embed_query(TEXTS[0]) != plain.embed_documents(TEXTS[:1])[0]
    assert plain.embed_documents([]) == []
    plain.close()

    told = Qwen3Embeddings(client=client, instruction="Find the planet", dimensions=32)
    expected = client.encode_query("red", instruction="Find the planet", dimensions=32)
    assert told.embed_query("red") == expected.tolist()
    assert told.embed_documents(["red"]) == client.encode_document(["red"], dimensions=32).tolist()


def test_awaited_calls_give_the_same(url: str) -> None:
    embeddings = Qwen3Embeddings(url, instruction="Find the planet", dimensions=32)
    reranker = Qwen3Reranker(server=url, top_n=2)

    async def ask() -> None:
        documents, query, ranked = await asyncio.gather(
            embeddings.aembed_documents(TEXTS),
            embeddings.aembed_query("red"),
            reranker.acompress_documents(DOCUMENTS, "red"),
        )
        assert documents == await asyncio.to_thread(embeddings.embed_documents, TEXTS)
        assert query == await asyncio.to_thread(embeddings.embed_query, "red")
        assert ranked == await asyncio.to_thread(reranker.compress_documents, DOCUMENTS, "red")
        await asyncio.gather(embeddings.aclose(), reranker.aclose())

    asyncio.run(ask())


def test_reranked_documents_carry_their_scores(url: str, client: Client) -> None:
    ranking = client.rank("Which planet is red?", TEXTS, instruction="Find the planet")
    reranker = Qwen3Reranker(server=url, instruction="Find the planet")
    ranked = reranker.compress_documents(DOCUMENTS, "Which planet is red?")
    assert [document.page_content for document in ranked] == [TEXTS[result.index] for result in ranking]
    assert [document.metadata for document in ranked] == [
        {"number": result.index, "relevance_score": result.score} for result in ranking
    ]
    assert all("relevance_score" not in document.metadata for document in DOCUMENTS)  # those are copies
    best = Qwen3Reranker(client=client, instruction="Find the planet", top_n=1)
    assert best.compress_documents(DOCUMENTS, "Which planet is red?") == ranked[:1]
    assert best.compress_documents([], "Which planet is red?") == []
    reranker.close()


def test_retrieval_then_compression(url: str, client: Client) -> None:
    store = InMemoryVectorStore(Qwen3Embeddings(url, dimensions=32))
    store.add_documents(DOCUMENTS)
    question = "Which planet is red?"
    cosines = client.encode_document(TEXTS, dimensions=32) @ client.encode_query(question, dimensions=32)
    nearest = np.argsort(-cosines)[:3]
    found = store.similarity_search_with_score(question, k=3)
    assert [document.metadata["number"] for document, _ in found] == nearest.tolist()
    np.testing.assert_allclose([score for _, score in found], cosines[nearest], rtol=1e-5)

    # What ContextualCompressionRetriever does, with the parts of langchain-core.
    reranker = Qwen3Reranker(server=url, top_n=2)
    retriever = store.as_retriever(search_kwargs={"k": 3})
    chain = RunnableLambda(
        lambda query: reranker.compress_documents(retriever.invoke(query), query),
        afunc=lambda query: _compress(reranker, retriever.invoke(query), query),
    )
    compressed = chain.invoke(question)
    best = client.rank(question, [TEXTS[i] for i in nearest], top_k=2)
    assert [document.metadata["relevance_score"] for document in compressed] == [result.score for result in best]
    assert [document.metadata["number"] for document in compressed] == [nearest[result.index] for result in best]
    assert asyncio.run(chain.ainvoke(question)) == compressed


async def _compress(reranker: Qwen3Reranker, documents: list[Document], query: str) -> list[Document]:
    return list(await reranker.acompress_documents(documents, query))


def test_options_are_checked_at_once() -> None:
    with pytest.raises(InvalidInputError, match="either server="):
        Qwen3Embeddings()
    with pytest.raises(InvalidInputError, match="dimensions"):
        Qwen3Embeddings("localhost:1", dimensions=31)
    with pytest.raises(pydantic.ValidationError, match="either server="):
        Qwen3Reranker()
    with pytest.raises(pydantic.ValidationError, match="top_n"):
        Qwen3Reranker(server="localhost:1", top_n=0)
    with pytest.raises(pydantic.ValidationError, match="top_k"):
        Qwen3Reranker(server="localhost:1", top_k=3)  # type: ignore[call-arg]


def test_errors_are_the_clients(client: Client) -> None:
    with pytest.raises(ServerUnavailableError, match="qwen3-triton serve"):
        Qwen3Embeddings("localhost:1").embed_query("text")
    with pytest.raises(InvalidInputError, match="text 1"):
        Qwen3Embeddings(client=client).embed_documents(["good", ""])
    with pytest.raises(InvalidInputError, match="document 0"):
        Qwen3Reranker(client=client).compress_documents([Document(page_content="")], "query")


def test_the_reranker_travels_and_keeps_its_secret(url: str) -> None:
    options = ClientOptions(url, token=BEARER, headers={"x-tenant": BEARER}, timeout_s=7.0)
    reranker = Qwen3Reranker(server=options, instruction="Find the planet", top_n=1)
    assert BEARER not in repr(reranker)
    assert BEARER not in reranker.model_dump_json()
    assert BEARER not in str(reranker.model_dump())
    expected = reranker.compress_documents(DOCUMENTS, "red")
    twin = pickle.loads(pickle.dumps(reranker))  # noqa: S301 - our own bytes
    assert twin.server == options
    dumped = Qwen3Reranker.model_validate_json(reranker.model_dump_json())
    assert dumped.server == ClientOptions(url, timeout_s=7.0)
    reranker.close()
    for copy in (twin, dumped):
        assert copy.compress_documents(DOCUMENTS, "red") == expected
        copy.close()


def test_a_ready_asynchronous_client(url: str) -> None:
    async def ask() -> list[list[float]]:
        async with AsyncClient(url) as ready:
            return [
                await Qwen3Embeddings(client=ready).aembed_query("red"),
                await asyncio.to_thread(Qwen3Embeddings(client=ready).embed_query, "red"),
            ]

    awaited, waited = asyncio.run(ask())
    assert awaited == waited
