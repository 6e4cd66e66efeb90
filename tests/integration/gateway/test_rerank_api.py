"""The rerank API, through Cohere's own client, and as Jina's users call it."""

from collections.abc import Iterator

import cohere
import httpx
import pytest
from qwen3_client import Client
from support.gateway import Gateway

MODEL = "Qwen/Qwen3-Reranker-8B"
QUERY = "Which planet is known as the Red Planet?"
DOCUMENTS = ["Venus is the hottest planet.", "Mars is often called the Red Planet.", "Юпитер", "Saturn has rings."]


@pytest.fixture
def http_client() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=60) as made:
        yield made


def test_cohere_gets_what_the_client_gives(gateway: Gateway, http_client: httpx.Client, direct: Client) -> None:
    expected = [(hit.index, hit.score) for hit in direct.rank(QUERY, DOCUMENTS)]
    two = cohere.ClientV2(api_key="any", base_url=gateway.url, httpx_client=http_client)
    ranked = two.rerank(model=MODEL, query=QUERY, documents=DOCUMENTS)
    assert [(hit.index, hit.relevance_score) for hit in ranked.results] == expected
    best = two.rerank(model=MODEL, query=QUERY, documents=DOCUMENTS, top_n=2)
    assert [(hit.index, hit.relevance_score) for hit in best.results] == expected[:2]

    one = cohere.Client(api_key="any", base_url=gateway.url, httpx_client=http_client)
    documents = [{"text": text, "source": str(index)} for index, text in enumerate(DOCUMENTS)]
    returned = one.rerank(model=MODEL, query=QUERY, documents=documents, return_documents=True)
    assert [(hit.index, hit.relevance_score) for hit in returned.results] == expected
    assert [hit.document.text for hit in returned.results if hit.document] == [DOCUMENTS[i] for i, _ in expected]


def test_jina_gets_its_fields(http: httpx.Client, direct: Client) -> None:
    body = {"model": MODEL, "query": QUERY, "documents": DOCUMENTS, "top_n": 10, "return_documents": True}
    answer = http.post("/v1/rerank", json=body).json()
    expected = direct.rank(QUERY, DOCUMENTS)
    assert answer["results"] == [
        {"index": hit.index, "relevance_score": hit.score, "document": {"text": DOCUMENTS[hit.index]}}
        for hit in expected
    ]
    tokens = sum(len(row) for row in direct.tokenize_pairs([(QUERY, text) for text in DOCUMENTS]))
    assert (answer["model"], answer["object"], answer["usage"]) == (MODEL, "list", {"total_tokens": tokens})


def test_an_instruction_of_ones_own(http: httpx.Client, direct: Client) -> None:
    answer = http.post("/v1/rerank", json={"query": QUERY, "documents": DOCUMENTS, "instruction": "Find a fruit"})
    expected = direct.rank(QUERY, DOCUMENTS, instruction="Find a fruit")
    assert [(r["index"], r["relevance_score"]) for r in answer.json()["results"]] == [
        (hit.index, hit.score) for hit in expected
    ]


def test_failures_are_those_that_cohere_knows(gateway: Gateway, http_client: httpx.Client) -> None:
    client = cohere.ClientV2(api_key="any", base_url=gateway.url, httpx_client=http_client)
    with pytest.raises(cohere.NotFoundError) as caught:
        client.rerank(model="rerank-v3.5", query=QUERY, documents=DOCUMENTS)
    assert "rerank-v3.5" in caught.value.body["message"]
    with pytest.raises(cohere.BadRequestError, match="document 1 is empty"):
        client.rerank(model=MODEL, query=QUERY, documents=["a", ""])
    with pytest.raises(cohere.BadRequestError, match="max_tokens_per_doc"):
        client.rerank(model=MODEL, query=QUERY, documents=["a"], max_tokens_per_doc=5)
    with pytest.raises(cohere.UnprocessableEntityError, match="top_n"):
        client.rerank(model=MODEL, query=QUERY, documents=["a"], top_n=0)


def test_a_long_document_is_cut_unless_it_shall_not_be(http: httpx.Client) -> None:
    body = {"query": "q", "documents": ["short", "long " * 2000]}
    assert http.post("/v2/rerank", json=body).status_code == 200
    refused = http.post("/v2/rerank", json={**body, "truncate": False})
    assert (refused.status_code, "document 1 is longer" in refused.json()["message"]) == (400, True)


def test_a_document_with_a_number_beyond_64_bits_is_given_back(http: httpx.Client) -> None:
    document = {"text": "a", "id": 2**70}
    answer = http.post("/v1/rerank", json={"query": "q", "documents": [document], "return_documents": True})
    assert answer.status_code == 200
    assert answer.json()["results"][0]["document"]["text"] == "a"
