"""Bad requests of every kind: each API answers in its own form, and never with a failure of the server's."""

import json
from typing import Any

import httpx
import pytest
from support.gateway import failure_text
from support.gateway_requests import BOTH, ROUTES

BODIES = {
    "nothing": b"",
    "no JSON": b"{'input': 'a'}",
    "half of it": b'{"input": "a',
    "a list": b"[]",
    "a number": b"5",
    "null": b"null",
    "NaN": b"NaN",
    "NUL bytes": b"\x00" * 100,
    "invalid UTF-8": b'{"input": "\xff\xfe", "inputs": "\xff", "query": "\xff", "prompt": "\xff", "model": "\xff"}',
    "UTF-16": '{"input": "a"}'.encode("utf-16"),
    "two byte order marks": b'\xef\xbb\xbf\xef\xbb\xbf{"input": "a"}',
    "a lone surrogate": b'{"input": "\\ud800", "inputs": "\\ud800", "query": "\\udc00", "prompt": "\\ud800"}',
    "deep nesting": b'{"input": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "a huge exponent": b'{"input": 1e999999, "inputs": 1e999999, "query": 1e999, "prompt": 1e999, "model": 1e999}',
    "a huge integer": b'{"input": [' + b"9" * 5000 + b'], "inputs": [' + b"9" * 5000 + b'], "query": 1, "model": 1}',
}


def values() -> list[object]:
    """Values of wrong types, for any field."""
    return [5, -1, 1.5, True, "", "x", [], [None], [[]], [1, "a"], [["a"]], {}, {"a": 1}, 10**30, [-1], [2**31], [1.0]]


@pytest.mark.parametrize(("path", "body"), BOTH)
def test_the_route_works_to_begin_with(http: httpx.Client, path: str, body: dict[str, Any]) -> None:
    plain = http.post(path, json=body)
    assert plain.status_code == 200
    marked = http.post(path, content=b"\xef\xbb\xbf" + json.dumps(body).encode())
    assert marked.status_code == 200, "a byte order mark is skipped"
    slashed = http.post(f"{path}/" if path != "/" else "//", json=body)
    assert slashed.status_code == 200, "a slash at the end changes nothing"


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_no_request(http: httpx.Client, path: str, name: str) -> None:
    answer = http.post(path, content=BODIES[name])
    assert answer.status_code in (400, 422)
    failure_text(path, answer.json())


@pytest.mark.parametrize(("path", "body"), BOTH)
def test_a_value_of_another_type(http: httpx.Client, path: str, body: dict[str, Any]) -> None:
    document = http.get("/openapi.json").json()
    schema = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    kinds = [
        document["components"]["schemas"][each["$ref"].rpartition("/")[2]] for each in schema.get("anyOf", [schema])
    ]
    (fields,) = [kind["properties"] for kind in kinds if set(body) <= set(kind["properties"])]
    for field in fields:
        for value in values():
            answer = http.post(path, json={**body, field: value})
            if answer.status_code != 200:
                assert answer.status_code in (400, 404, 413, 422), (field, value, answer.text)
                failure_text(path, answer.json())


@pytest.mark.parametrize(("path", "body"), BOTH)
def test_a_field_that_is_missing(http: httpx.Client, path: str, body: dict[str, Any]) -> None:
    for field in body:
        answer = http.post(path, json={key: value for key, value in body.items() if key != field})
        if path.startswith("/api/") and field in ("input", "prompt"):
            assert answer.status_code == 200, "that loads the model"
        else:
            assert answer.status_code in (400, 422)
            assert field in failure_text(path, answer.json())


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "TRACE"])
def test_another_method(http: httpx.Client, path: str, method: str) -> None:
    answer = http.request(method, path)
    if path == "/" and method == "GET":
        assert answer.json()["name"] == "qwen3-triton gateway", "load balancers ask here"
        return
    allowed = "GET, HEAD, POST" if path == "/" else "POST"
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    failure_text(path, answer.json())


@pytest.mark.parametrize("path", ["/v1/nonesuch", "/v2/nonesuch", "/api/generate", "/nonesuch", "/v1/embeddings/x"])
def test_a_path_that_is_not_there(http: httpx.Client, path: str) -> None:
    answer = http.post(path, json={})
    assert answer.status_code == 404
    if path.startswith("/v2/"):
        assert answer.json()["detail"] == answer.json()["message"]
    else:
        failure_text(path, answer.json())


def test_messages_repeat_no_text(http: httpx.Client) -> None:
    text = "a text that stays where it is"
    for path, body in BOTH:
        broken = {key: {text: text} for key in body}
        assert text not in http.post(path, json=broken).text


def test_text_that_is_odd_but_valid(http: httpx.Client) -> None:
    for text in ("\x00", "\u200b", "\ufeff", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", " ", "\n", "a" * 1000, "<|endoftext|>", "\U0010ffff"):
        answer = http.post("/v1/embeddings", json={"input": text})
        assert (answer.status_code, len(answer.json()["data"])) == (200, 1)
