"""The rerank API, through Cohere's own client, and as Jina's users call it."""

import json
from collections.abc import Iterator

import cohere
import httpx
import pytest
from qwen3_client import Client
from qwen3_serve import Triton
from qwen3_serve.gateway import Settings
from support.gateway import Gateway, running

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
    assert (answer["model"], answer["object"], answer["usage"]["total_tokens"]) == (MODEL, "list", tokens)


def test_voyage_gets_its_results(http: httpx.Client, direct: Client) -> None:
    expected = direct.rank(QUERY, DOCUMENTS)
    body = {"query": QUERY, "documents": DOCUMENTS, "top_k": 2, "truncation": True}
    bare = [{"index": hit.index, "relevance_score": hit.score} for hit in expected]
    assert http.post("/v1/rerank", json=body).json()["data"] == bare[:2]

    body = {"query": QUERY, "documents": DOCUMENTS, "return_documents": True}
    answer = http.post("/v1/rerank", json=body).json()
    assert answer["data"] == [{**hit, "document": DOCUMENTS[int(hit["index"])]} for hit in bare]
    assert [hit["document"] for hit in answer["results"]] == [{"text": DOCUMENTS[int(hit["index"])]} for hit in bare]
    for path, field in (("/v2/rerank", {}), ("/v1/rerank", {"top_n": 1}), ("/v1/rerank", {"raw_scores": False})):
        assert "data" not in http.post(path, json={**body, **field}).json()


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
    with pytest.raises(cohere.BadRequestError, match="the query is empty"):
        client.rerank(model=MODEL, query="", documents=["a", ""])
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


def test_documents_hold_no_number_that_json_has_not(http: httpx.Client) -> None:
    document = b'{"text": "a", "weight": NaN, "id": %d, "many": [1e999, {"x": -Infinity}, 0.5]}' % 2**70
    body = b'{"query": "q", "documents": [' + document + b'], "return_documents": true}'
    answer = http.post("/v1/rerank", content=body)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    returned = json.loads(answer.text, parse_constant=refuse)["results"][0]["document"]
    assert returned == {"text": "a", "weight": None, "id": 2**70, "many": [None, {"x": None}, 0.5]}


def test_an_empty_document_comes_last(http: httpx.Client, direct: Client) -> None:
    answer = http.post("/v1/rerank", json={"query": QUERY, "documents": ["", *DOCUMENTS, ""]}).json()["results"]
    expected = [(hit.index + 1, hit.score) for hit in direct.rank(QUERY, DOCUMENTS)]
    assert [(hit["index"], hit["relevance_score"]) for hit in answer] == [*expected, (0, 0.0), (5, 0.0)]
    alone = http.post("/rerank", json={"query": QUERY, "texts": [""]}).json()
    assert alone == [{"index": 0, "score": 0.0}]
    long = http.post("/v1/rerank", json={"query": "q", "documents": ["", "long " * 2000], "truncate": False})
    assert "document 1 is longer" in long.json()["message"], "the index is that of the request"


def test_an_operator_may_refuse_empty_documents(gateway_triton: Triton) -> None:
    settings = Settings(triton=gateway_triton.grpc_url, empty_documents="refuse")
    with running(settings) as gateway:
        body = {"query": QUERY, "documents": ["a", ""]}
        answer = httpx.post(f"{gateway.url}/v2/rerank", json=body, trust_env=False, timeout=60)
    assert (answer.status_code, answer.json()["message"]) == (400, "document 1 is empty: leave it out")


@pytest.mark.parametrize("path", ["/rerank", "/reranker/rerank"])
def test_rerank_takes_documents_too(http: httpx.Client, direct: Client, path: str) -> None:
    expected = direct.rank(QUERY, DOCUMENTS)
    body = {"model": MODEL, "query": QUERY, "documents": DOCUMENTS, "return_documents": True}
    jina = http.post(path, json=body).json()["results"]
    assert jina == [
        {"index": hit.index, "relevance_score": hit.score, "document": {"text": DOCUMENTS[hit.index]}}
        for hit in expected
    ]
    infinity = http.post(path, json={**body, "raw_scores": False}).json()["results"]
    assert infinity == [{**each, "document": each["document"]["text"]} for each in jina]
    logits = http.post(path, json={**body, "raw_scores": True}).json()["results"]
    assert [each["relevance_score"] for each in logits] == [hit.logit for hit in expected]
    wrong = http.post(path, json={**body, "model": "other"})
    assert (wrong.status_code, wrong.json()["detail"]) == (404, wrong.json()["message"])
    neither = http.post(path, json={"query": QUERY})
    assert neither.json() == {"error": "texts or documents is required", "error_type": "validation"}
