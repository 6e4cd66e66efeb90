"""Text Embeddings Inference's API, through `huggingface_hub`'s client and as its users call it."""

import httpx
import numpy as np
import pytest
from huggingface_hub import InferenceClient
from qwen3_client import Client
from support.gateway import DIMENSIONS, MAX_TOKENS, Gateway

TEXTS = ["What is Deep Learning?", "日本語", "c"]


@pytest.mark.parametrize("path", ["", "/embed"])
def test_hugging_faces_client_embeds(gateway: Gateway, direct: Client, path: str) -> None:
    client = InferenceClient(f"{gateway.url}{path}")
    np.testing.assert_array_equal(client.feature_extraction(TEXTS[0])[0], direct.encode_document(TEXTS[0]))
    for name, expected in (("query", direct.encode_query(TEXTS)), ("document", direct.encode_document(TEXTS))):
        answer = client.feature_extraction(
            TEXTS,
            prompt_name=name,
            normalize=True,
            truncate=True,
            truncation_direction="right",
        )
        np.testing.assert_array_equal(answer, expected)


@pytest.mark.parametrize("path", ["", "/similarity"])
def test_hugging_faces_client_compares(gateway: Gateway, direct: Client, path: str) -> None:
    scores = InferenceClient(f"{gateway.url}{path}").sentence_similarity(TEXTS[0], other_sentences=TEXTS)
    expected = direct.encode_document(TEXTS)
    np.testing.assert_allclose(scores, expected @ expected[0], atol=1e-6)


def test_embed_takes_token_ids_and_dimensions(http: httpx.Client, direct: Client) -> None:
    ids = [row.tolist() for row in direct.tokenize(TEXTS)]
    answer = http.post("/embed", json={"inputs": ids, "dimensions": 32})
    np.testing.assert_array_equal(np.float32(answer.json()), direct.encode_document(TEXTS, dimensions=32))
    answer = http.post("/embed", json={"inputs": ids[0]})
    np.testing.assert_array_equal(np.float32(answer.json()), direct.encode_document(TEXTS[:1]))


def test_rerank_orders_the_texts(http: httpx.Client, direct: Client) -> None:
    expected = direct.rank("q", TEXTS)
    plain = http.post("/rerank", json={"query": "q", "texts": TEXTS}).json()
    assert plain == [{"index": hit.index, "score": hit.score} for hit in expected]
    full = http.post("/rerank", json={"query": "q", "texts": TEXTS, "return_text": True, "raw_scores": True}).json()
    assert full == [{"index": hit.index, "score": hit.logit, "text": TEXTS[hit.index]} for hit in expected]


@pytest.mark.parametrize("prompt_name", [None, "query"])
def test_tokens_are_those_that_the_model_reads(http: httpx.Client, direct: Client, prompt_name: str | None) -> None:
    texts = ["hi é 日本", "a"]
    rows = http.post("/tokenize", json={"inputs": texts, "prompt_name": prompt_name}).json()
    ids = direct.tokenize(texts, kind="query" if prompt_name else "document")
    assert [[token["id"] for token in row] for row in rows] == [row.tolist() for row in ids]
    *body, last = rows[0]
    assert (last["special"], last["start"], last["stop"]) == (True, None, None)
    assert not any(token["special"] for token in body)
    if prompt_name is None:
        assert all(texts[0][token["start"] : token["stop"]] == token["text"] for token in body)
        assert {token["text"] for token in body} == set(texts[0])
    bare = http.post("/tokenize", json={"inputs": texts[1], "add_special_tokens": False}).json()
    assert [token["text"] for token in bare[0]] == ["a"]


def test_special_tokens_in_a_text_are_plain_text(http: httpx.Client, direct: Client) -> None:
    text = "a<|endoftext|>b"
    (row,) = http.post("/tokenize", json={"inputs": text}).json()
    assert [token["id"] for token in row] == direct.tokenize([text])[0].tolist()
    assert "".join(token["text"] for token in row[:-1]) == text
    assert [token["special"] for token in row] == [False] * len(text) + [True]
    answer = http.post("/embed", json={"inputs": text})
    np.testing.assert_array_equal(np.array(answer.json()[0], np.float32), direct.encode_document(text))


def test_a_query_that_is_too_long_leaves_room_for_the_texts(http: httpx.Client, direct: Client) -> None:
    query = "q" * 20_000
    body = {"query": query, "texts": TEXTS, "truncate": True, "raw_scores": True}
    answer = http.post("/rerank", json=body).json()
    assert answer == [{"index": hit.index, "score": hit.logit} for hit in direct.rank(query, TEXTS)]
    assert len({hit["score"] for hit in answer}) == len(set(TEXTS))
    assert http.post("/rerank", json={**body, "truncate": False}).status_code == 413


def test_info_says_what_serves(http: httpx.Client) -> None:
    info = http.get("/info").json()
    assert info["model_id"] == "Qwen/Qwen3-Embedding-8B"
    assert (info["model_dtype"], info["max_input_length"]) == ("fp32", MAX_TOKENS)
    assert info["model_type"] == {"embedding": {"pooling": "last_token"}}


@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        ("/embed", {"inputs": []}, 400, "empty"),
        ("/embed", {"inputs": ""}, 400, "empty"),
        ("/embed", {"inputs": ["x"] * 3000}, 413, "validation"),
        ("/embed", {"inputs": "long " * 2000}, 413, "validation"),
        ("/embed", {"inputs": 5}, 422, "validation"),
        ("/embed", {"inputs": "a", "prompt_name": "nonesuch"}, 422, "validation"),
        ("/", {"inputs": "a", "parameters": {"prompt_name": "query"}}, 422, "validation"),
        ("/", {"inputs": {"source_sentence": "a", "sentences": ["b"]}, "prompt_name": "query"}, 422, "validation"),
        (
            "/similarity",
            {"inputs": {"source_sentence": "a", "sentences": ["b"]}, "parameters": {"task": "x"}},
            422,
            "validation",
        ),
        ("/decode", {"ids": [10**6]}, 422, "validation"),
        ("/embed", {"inputs": ["a", [1]]}, 422, "validation"),
        ("/embed", {"inputs": [[1], "a"]}, 422, "validation"),
        ("/embed", {"inputs": "a", "dimensions": DIMENSIONS + 1}, 422, "validation"),
        ("/similarity", {"inputs": {"source_sentence": "a", "sentences": []}}, 400, "empty"),
        ("/rerank", {"query": "q", "texts": []}, 400, "empty"),
        ("/rerank", {"query": "", "texts": ["a"]}, 400, "empty"),
        (
            "/rerank",
            {"query": "q", "texts": ["a"], "truncate": True, "truncation_direction": "Left"},
            422,
            "validation",
        ),
    ],
)
def test_failures_are_texts_own(http: httpx.Client, path: str, body: dict[str, object], status: int, kind: str) -> None:
    answer = http.post(path, json=body)
    assert (answer.status_code, answer.json()["error_type"]) == (status, kind)


def test_truncation_keeps_the_wanted_side(http: httpx.Client, direct: Client) -> None:
    long = "".join(f"{number} " for number in range(MAX_TOKENS))
    for direction, side in (("Left", "start"), ("Right", "end")):
        body = {"inputs": long, "truncate": True, "truncation_direction": direction}
        expected = direct.encode_document(long, truncate=side)  # type: ignore[arg-type]
        np.testing.assert_array_equal(np.float32(http.post("/embed", json=body).json()[0]), expected)
