"""Work is bounded before it is done, ends when nobody waits for it, and the answer says what was cut."""

import json
import socket
import threading
from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np
import pytest
from qwen3_client import Client
from qwen3_client.bounded_tokenizer import BoundedTokenizer
from qwen3_serve import Triton
from qwen3_serve.gateway import Settings
from support.gateway import MAX_TOKENS, running, wait_until

HEADER = "x-truncated"


class Tokenizing:
    """What the gateway tokenizes.

    Attributes:
        characters: number of characters that were given to the tokenizer, each text as far as it may be needed.
        running: number of batches that are being tokenized.
        goes_on: cleared to hold each batch before it is tokenized.
    """

    def __init__(self) -> None:
        self.characters = 0
        self.running = 0
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.lock = threading.Lock()


@pytest.fixture
def tokenizing(monkeypatch: pytest.MonkeyPatch) -> Tokenizing:
    found, encode = Tokenizing(), BoundedTokenizer.encode

    def counted(self: BoundedTokenizer, texts: Sequence[str], **options: Any) -> list[list[int]]:  # noqa: ANN401
        with found.lock:
            found.characters += sum(map(len, texts))
            found.running += 1
        try:
            assert found.goes_on.wait(120)
            return encode(self, texts, **options)
        finally:
            with found.lock:
                found.running -= 1

    monkeypatch.setattr(BoundedTokenizer, "encode", counted)
    return found


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"query": "q " * 200_000, "texts": ["d"] * 100}, id="query"),
        pytest.param({"query": "q", "texts": ["d"] * 2000}, id="template"),
        pytest.param({"query": "q" * 400_000, "texts": ["d"] * 100}, id="run"),
    ],
)
def test_a_small_body_that_asks_for_much_is_refused_before_its_prompts_are_tokenized(
    gateway_triton: Triton, tokenizing: Tokenizing, body: dict[str, Any]
) -> None:
    settings = Settings(triton=gateway_triton.grpc_url, max_request_tokens=50_000)
    with running(settings) as gateway, httpx.Client(base_url=gateway.url, trust_env=False, timeout=60) as http:
        assert http.post("/rerank", json={"query": "q", "texts": ["d"]}).status_code == 200
        tokenizing.characters = 0
        answer = http.post("/rerank", json={**body, "truncate": True})
        assert answer.status_code == 413, answer.text
        assert "more than the 50000 tokens" in answer.json()["error"]
        assert tokenizing.characters <= 3 * len(body["query"]), "the query a few times, and not once a document"


def test_work_ends_when_its_clients_leave_and_its_share_is_freed_then(
    gateway_triton: Triton, tokenizing: Tokenizing
) -> None:
    settings = Settings(triton=gateway_triton.grpc_url, max_request_tokens=50_000_000, max_pending_tokens=50_000_000)
    texts = ["some words " * 360] * 2000
    body = json.dumps({"inputs": texts, "truncate": True}).encode()
    with running(settings) as gateway, httpx.Client(base_url=gateway.url, trust_env=False, timeout=60) as http:
        assert http.post("/embed", json={"inputs": "warm"}).status_code == 200
        host, port = gateway.url.removeprefix("http://").split(":")
        tokenizing.characters = 0
        tokenizing.goes_on.clear()
        clients = [socket.create_connection((host, int(port))) for _ in range(6)]
        for client in clients:
            client.sendall(b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        wait_until(lambda: tokenizing.running > 0, what="nothing is tokenized")
        for client in clients:
            client.close()
        tokenizing.goes_on.set()
        assert http.post("/embed", json={"inputs": "next"}).status_code == 200
        wait_until(lambda: gateway.in_progress == (0, 0), what="the work goes on without the clients")
        assert tokenizing.running == 0, "what is freed has ended"
        assert tokenizing.characters < 6 * sum(map(len, texts)) / 3


def test_answers_say_what_was_cut(http: httpx.Client) -> None:
    long = "x " * MAX_TOKENS
    for path in ("/v1/rerank", "/v2/rerank"):
        whole = http.post(path, json={"query": "q", "documents": ["d", "e"]})
        assert HEADER not in whole.headers
        assert "warnings" not in whole.json()["meta"]
        documents = http.post(path, json={"query": "q", "documents": ["d", "", long, long]})
        assert documents.headers[HEADER] == "documents=2"
        assert documents.json()["meta"]["warnings"] == ["truncated to fit the limit of tokens: 2 of the documents"]
    both = http.post("/v1/rerank", json={"query": long, "documents": ["d", long]})
    assert both.headers[HEADER] == "query, documents=1"
    assert len(both.json()["meta"]["warnings"]) == 2
    assert http.post("/rerank", json={"query": long, "texts": ["d"], "truncate": True}).headers[HEADER] == "query"
    assert http.post("/v1/embeddings", json={"input": ["a", long], "truncate": "END"}).headers[HEADER] == "texts=1"
    refused = http.post("/v1/embeddings", json={"input": ["a", long]})
    assert (refused.status_code, HEADER in refused.headers) == (400, False)
    cohere = http.post("/v2/embed", json={"texts": ["a b c d e f", "a"], "max_tokens": 4})
    assert cohere.headers[HEADER] == "texts=1"
    assert cohere.json()["meta"]["warnings"] == ["truncated to fit the limit of tokens: 1 of the texts"]


def test_token_ids_that_were_cut(http: httpx.Client, direct: Client) -> None:
    (ids,) = direct.tokenize(["some words"])
    whole = http.post("/v1/embeddings", json={"input": [ids.tolist()], "truncate_prompt_tokens": len(ids)})
    assert HEADER not in whole.headers
    cut = http.post("/v1/embeddings", json={"input": [ids.tolist()], "truncate_prompt_tokens": len(ids) - 1})
    assert cut.headers[HEADER] == "texts=1"
    kept = [*ids[:-2], ids[-1]]
    expected = direct.encode_tokens([kept])
    vectors = np.array([item["embedding"] for item in cut.json()["data"]], np.float32)
    np.testing.assert_array_equal(vectors, expected)
    none = http.post("/v1/embeddings", json={"input": [ids.tolist()], "truncate_prompt_tokens": 1})
    assert (none.status_code, "leaves no room" in none.text) == (400, True)


@pytest.mark.parametrize("truncate", ["START", "END"])
def test_a_query_that_is_cut_keeps_its_instruction(http: httpx.Client, direct: Client, truncate: str) -> None:
    query = "the first words of a query and then its last ones"
    (whole,) = direct.tokenize([query], kind="query")
    (text,) = direct.tokenize([query])
    frame = len(whole) - len(text)
    limit = frame + 5
    start, end = whole[:frame], whole[-1:]
    kept = text[:-1][-4:] if truncate == "START" else text[:4]
    expected = direct.encode_tokens([np.concatenate([start, kept, end])])
    answer = http.post(
        "/v2/embed",
        json={"texts": [query], "input_type": "search_query", "truncate": truncate, "max_tokens": limit},
    )
    assert answer.status_code == 200, answer.text
    np.testing.assert_array_equal(np.float32(answer.json()["embeddings"]["float"]), expected)
    small = http.post("/v2/embed", json={"texts": [query], "input_type": "search_query", "max_tokens": frame})
    assert (small.status_code, "leaves no room for the text" in small.text) == (400, True)


def test_a_run_of_characters_that_would_be_tokenized_at_once_is_refused_by_its_index(http: httpx.Client) -> None:
    run = "q" * 1_100_000
    answer = http.post("/v1/rerank", json={"query": "q", "documents": ["", "d", run]})
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("document 2: 1100000 characters in a row")
