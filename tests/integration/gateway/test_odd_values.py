"""Values that are odd and right, and values that are wrong in ways that JSON parsers let through."""

import copy
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from qwen3_client import Client
from support.gateway import MAX_TOKENS, Gateway, failure_text
from support.gateway_requests import BOTH

LETTERS = 300_000


def fields_of(http: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Give the schemas of the fields of a route's body, by name; that of the API to which this body belongs."""
    document = http.get("/openapi.json").json()
    schema = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    names = [each["$ref"].rpartition("/")[2] for each in schema.get("anyOf", [schema])]
    kinds = [document["components"]["schemas"][name]["properties"] for name in names]
    (fields,) = [kind for kind in kinds if set(body) <= set(kind)]
    return dict(fields)


def is_integer(schema: dict[str, Any]) -> bool:
    return {each.get("type") for each in schema.get("anyOf", [schema])} <= {"integer", "null"}


@pytest.mark.parametrize(("path", "body"), BOTH)
def test_numbers_and_booleans_are_not_converted(http: httpx.Client, path: str, body: dict[str, Any]) -> None:
    for field, schema in fields_of(http, path, body).items():
        if not is_integer(schema):
            continue
        for value in (True, False, "5", 5.5, [5]):
            answer = http.post(path, json={**body, field: value})
            assert answer.status_code in (400, 422), (field, value)
            assert failure_text(path, answer.json()).startswith(f"{field}: "), (field, value)


@pytest.mark.parametrize("field", ["normalize", "truncate", "truncation", "dimensions"])
def test_a_number_is_no_boolean(http: httpx.Client, field: str) -> None:
    for value in (0, 1, "true"):
        answer = http.post("/v1/embeddings", json={"input": "a", field: value})
        if field == "normalize":  # which changes nothing
            assert answer.status_code == 200
        elif field == "dimensions" and isinstance(value, int):
            assert answer.status_code == (200 if value == 0 else 400), "0 is the model's own, which Infinity sends"
        else:
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)


@pytest.mark.parametrize("ids", ["[true]", "[[true, 151643]]", "[1.0]", "[[1e3]]", "[1, null]", "[NaN]"])
def test_what_is_no_token_id(http: httpx.Client, ids: str) -> None:
    for path, field in (("/v1/embeddings", "input"), ("/embed", "inputs"), ("/pooling", "input"), ("/decode", "ids")):
        answer = http.post(path, content=f'{{"{field}": {ids}}}')
        assert answer.status_code in (400, 422)
        assert failure_text(path, answer.json()).startswith(f"{field}: ")


@pytest.mark.parametrize(("path", "body"), BOTH)
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_no_field_takes_a_number_that_is_none(http: httpx.Client, path: str, body: dict[str, Any], number: str) -> None:
    for field in fields_of(http, path, body):
        content = json.dumps({**body, field: "HERE"}).replace('"HERE"', number)
        answer = http.post(path, content=content)
        assert answer.status_code in (400, 422), field
        failure_text(path, answer.json())


def with_texts(body: Any, text: str) -> Any:  # noqa: ANN401
    """Give a body in which every text is this one."""
    if isinstance(body, str):
        return text
    if isinstance(body, list):
        return [with_texts(item, text) for item in body]
    if isinstance(body, dict):
        return {name: item if name == "model" else with_texts(item, text) for name, item in body.items()}
    return body


@pytest.mark.parametrize(("path", "body"), BOTH)
@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\U0010ffff", "\ufdd0", "\u202e"])
def test_every_route_reads_every_character(http: httpx.Client, path: str, body: dict[str, Any], text: str) -> None:
    assert http.post(path, json=with_texts(copy.deepcopy(body), text)).status_code == 200


def test_a_text_does_not_end_at_nul(http: httpx.Client, direct: Client) -> None:
    answer = http.post("/embed", json={"inputs": ["a\x00b", "a"]}).json()
    np.testing.assert_array_equal(np.float32(answer), direct.encode_document(["a\x00b", "a"]))
    assert answer[0] != answer[1]


def test_a_client_that_waits_to_be_told_to_continue(gateway: Gateway) -> None:
    host, port = gateway.url.removeprefix("http://").split(":")
    for path, body in BOTH:
        content = json.dumps(body).encode()
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len(content)}\r\n\r\n"
            connection.sendall(head.encode())
            with connection.makefile("rb") as answer:
                assert answer.readline() == b"HTTP/1.1 100 Continue\r\n", "before any of the body has come"
                connection.sendall(content)
                while answer.readline().strip():
                    pass
                assert answer.readline().startswith(b"HTTP/1.1 200 "), path


def chunks(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), 5):
        yield content[start : start + 5]


@pytest.mark.parametrize(("path", "body"), BOTH)
def test_a_body_in_chunks(http: httpx.Client, path: str, body: dict[str, Any]) -> None:
    answer = http.post(path, content=chunks(json.dumps(body).encode()))
    assert "content-length" not in answer.request.headers
    assert answer.status_code == 200


@pytest.mark.parametrize("text", ["x" * LETTERS, "ж" * LETTERS, "word " * (LETTERS // 5), "日" * LETTERS])
def test_a_text_of_300_000_letters(http: httpx.Client, direct: Client, text: str) -> None:
    for path, body, field in (
        ("/v1/embeddings", {"input": ["a", text]}, {"truncate": "END"}),
        ("/embed", {"inputs": ["a", text]}, {"truncate": True}),
        ("/api/embed", {"model": "qwen3-embedding", "input": ["a", text], "truncate": False}, {"truncate": True}),
        ("/v2/embed", {"texts": ["a", text], "truncate": "NONE"}, {"truncate": "END"}),
    ):
        refused = http.post(path, json=body)
        assert refused.status_code in (400, 413)
        assert failure_text(path, refused.json()).startswith(f"text 1 is longer than the {MAX_TOKENS} tokens")
        cut = http.post(path, json={**body, **field})
        assert (cut.status_code, cut.headers["x-truncated"]) == (200, "texts=1")
    vectors = http.post("/embed", json={"inputs": text, "truncate": True}).json()
    np.testing.assert_array_equal(np.float32(vectors[0]), direct.encode_document(text, truncate="end"))
    ranked = http.post("/v1/rerank", json={"query": "q", "documents": ["a", text]}).json()["results"]
    assert {hit["index"]: hit["relevance_score"] for hit in ranked} == {
        hit.index: hit.score for hit in direct.rank("q", ["a", text])
    }


def test_duplicates_get_equal_results_in_the_order_of_the_request(http: httpx.Client, direct: Client) -> None:
    texts = ["one", "two", "one", "one", "two"]
    vectors = np.array(http.post("/embed", json={"inputs": texts}).json(), np.float32)
    np.testing.assert_array_equal(vectors, direct.encode_document(texts))
    np.testing.assert_array_equal(vectors[[0, 2, 3]], vectors[[0, 0, 0]])
    scores = direct.score([("q", text) for text in texts])
    expected = sorted(range(len(texts)), key=lambda index: (-scores[index], index))
    for path, body in (
        ("/v1/rerank", {"query": "q", "documents": texts}),
        ("/rerank", {"query": "q", "texts": texts}),
        ("/v1/ranking", {"query": {"text": "q"}, "passages": [{"text": text} for text in texts]}),
    ):
        answer = http.post(path, json=body).json()
        found = answer if isinstance(answer, list) else answer.get("results") or answer["rankings"]
        assert [hit["index"] for hit in found] == expected
    top = http.post("/v1/rerank", json={"query": "q", "documents": texts, "top_n": 2}).json()["results"]
    assert [hit["index"] for hit in top] == expected[:2]


def test_32_threads_that_each_ask_for_something_else(http: httpx.Client, direct: Client) -> None:
    def right(thread: int) -> None:
        texts = [f"thread {thread} text {number} " + "word " * (number * thread % 9) for number in range(6)]
        for turn in range(5):
            match (thread + turn) % 5:
                case 0:
                    found = http.post("/v1/embeddings", json={"input": texts}).json()["data"]
                    vectors = np.array([item["embedding"] for item in found], np.float32)
                    np.testing.assert_array_equal(vectors, direct.encode_document(texts))
                case 1:
                    answer = http.post("/embed", json={"inputs": texts, "prompt_name": "query"}).json()
                    np.testing.assert_array_equal(np.float32(answer), direct.encode_query(texts))
                case 2:
                    answer = http.post("/v2/rerank", json={"query": texts[0], "documents": texts}).json()["results"]
                    expected = [(hit.index, hit.score) for hit in direct.rank(texts[0], texts)]
                    assert [(hit["index"], hit["relevance_score"]) for hit in answer] == expected
                case 3:
                    rows = http.post("/tokenize", json={"inputs": texts}).json()
                    assert [[token["id"] for token in row] for row in rows] == [
                        row.tolist() for row in direct.tokenize(texts)
                    ]
                case _:
                    refused = http.post("/v1/embed", json={"texts": [*texts, ""]})
                    assert (refused.status_code, refused.json()["message"]) == (400, "text 6 is empty: leave it out")

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(right, range(32)))


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/v1/embeddings", {"input": ["a", ""]}, "text 1 is empty"),
        ("/v1/embeddings", {"input": [{"text": "a"}, {"text": ""}]}, "text 1 is empty"),
        ("/v1/embeddings", {"input": [[65, 256], []]}, "text 1 has no token ids"),
        ("/embed", {"inputs": ["a", ""]}, "text 1 is empty"),
        ("/api/embed", {"model": "qwen3-embedding", "input": ["a", ""]}, "text 1 is empty"),
        ("/v1/embed", {"texts": ["a", ""]}, "text 1 is empty"),
        ("/v2/embed", {"inputs": [{"content": [{"type": "text", "text": ""}]}]}, "text 0 is empty"),
        ("/pooling", {"input": ["a", ""]}, "text 1 is empty"),
        ("/tokenize", {"inputs": ["a", ""]}, "text 1 is empty"),
        ("/similarity", {"inputs": {"source_sentence": "", "sentences": ["a"]}}, "source_sentence is empty"),
        ("/similarity", {"inputs": {"source_sentence": "a", "sentences": ["a", ""]}}, "sentence 1 is empty"),
        ("/score", {"text_1": ["q", ""], "text_2": ["a", "b"]}, "query 1 is empty"),
        ("/v1/rerank", {"query": "", "documents": ["a"]}, "the query is empty"),
        ("/v1/ranking", {"query": {"text": ""}, "passages": [{"text": "a"}]}, "the query is empty"),
    ],
)
def test_an_empty_text_is_named(http: httpx.Client, path: str, body: dict[str, Any], message: str) -> None:
    answer = http.post(path, json=body)
    assert answer.status_code == 400
    assert failure_text(path, answer.json()).startswith(message)


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("/api/embed", {"model": "qwen3-embedding", "input": "a"}, "options"),
        ("/api/embeddings", {"model": "qwen3-embedding", "prompt": "a"}, "options"),
        ("/similarity", {"inputs": {"source_sentence": "a", "sentences": ["b"]}}, "parameters"),
        ("/", {"inputs": {"source_sentence": "a", "sentences": ["b"]}}, "parameters"),
    ],
)
def test_null_in_an_object_is_not_given_either(http: httpx.Client, path: str, body: dict[str, Any], name: str) -> None:
    nothing = dict.fromkeys(("num_ctx", "prompt_name", "truncate", "truncation_direction", "dimensions", "task"))
    plain, answer = (http.post(path, json=each) for each in (body, {**body, name: nothing}))
    assert (plain.status_code, answer.status_code) == (200, 200)
    key = "embeddings" if path == "/api/embed" else "embedding"
    found = [each[key] if isinstance(each, dict) else each for each in (plain.json(), answer.json())]
    assert found[0] == found[1]
