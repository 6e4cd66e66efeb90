"""Every response with vectors or scores says which model they are of."""

from typing import Any

import cohere
import httpx
import openai
import pytest
from huggingface_hub import InferenceClient
from qwen3_client import Client
from support.gateway import Gateway

HEADER = "x-model-fingerprint"
EMBED = [
    ("/v1/embeddings", {"input": "a"}),
    ("/embed", {"inputs": "a"}),
    ("/", {"inputs": "a"}),
    ("/similarity", {"inputs": {"source_sentence": "a", "sentences": ["b"]}}),
    ("/api/embed", {"model": "qwen3-embedding", "input": "a"}),
    ("/api/embeddings", {"model": "qwen3-embedding", "prompt": "a"}),
]
RERANK = [
    ("/v1/rerank", {"query": "q", "documents": ["a"]}),
    ("/v2/rerank", {"query": "q", "documents": ["a"]}),
    ("/rerank", {"query": "q", "texts": ["a"]}),
]


@pytest.mark.parametrize(("path", "body"), EMBED)
def test_vectors_come_with_the_embedding_model_s(
    http: httpx.Client, direct: Client, path: str, body: dict[str, Any]
) -> None:
    response = http.post(path, json=body)
    assert (response.status_code, response.headers[HEADER]) == (200, direct.info().fingerprint)


@pytest.mark.parametrize(("path", "body"), RERANK)
def test_scores_come_with_the_reranker_s(http: httpx.Client, direct: Client, path: str, body: dict[str, Any]) -> None:
    response = http.post(path, json=body)
    assert (response.status_code, response.headers[HEADER]) == (200, direct.reranker_info().fingerprint)
    assert response.headers[HEADER] != direct.info().fingerprint


def test_other_responses_have_none(http: httpx.Client) -> None:
    for response in (http.get("/health"), http.get("/v1/models"), http.post("/v1/embeddings", json={"input": ""})):
        assert HEADER not in response.headers


def test_the_clients_of_the_apis_can_read_it(gateway: Gateway, http: httpx.Client, direct: Client) -> None:
    fingerprint = direct.info().fingerprint
    assert http.get("/info").json()["model_fingerprint"] == fingerprint
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as client:
        created = client.embeddings.create(model="qwen3_embedding", input="a")
        assert (created.model_extra or {})["system_fingerprint"] == fingerprint
    assert InferenceClient(gateway.url).feature_extraction("a").shape == (1, 64)
    with httpx.Client(timeout=60) as http_client:
        ranker = cohere.ClientV2(base_url=gateway.url, api_key="any", httpx_client=http_client)
        reranked = ranker.with_raw_response.rerank(model="qwen3_reranker", query="q", documents=["a"])
    assert reranked.headers[HEADER] == direct.reranker_info().fingerprint
