"""A field that would change the result is never ignored: every declared field of every route, against the gateway."""

from typing import Any

import httpx
import pytest
from qwen3_serve.gateway import create_app
from qwen3_serve.gateway.body import RequestBody
from support.gateway import Gateway, failure_text
from support.gateway_requests import BOTH
from support.known_fields import bodies_of

_OF_ONE_ANSWER = {"id", "total_duration", "load_duration"}
_LONG = "long text " * 1500

# For each supported field a value that changes the answer to the smallest request, or has it refused. A dictionary is a
# whole request, whose answer must differ from that without the field.
EXAMPLES: dict[str, dict[str, Any]] = {
    "/v1/embeddings": {
        "input": "b",
        "model": "nonesuch",
        "dimensions": 32,
        "output_dimension": 32,
        "encoding_format": "base64",
        "input_type": "search_query",
        "task": "retrieval.query",
        "instruction": {"input": "a", "input_type": "query", "instruction": "Find it"},
        "truncate": {"input": _LONG, "truncate": "START"},
        "truncation": {"input": _LONG, "truncation": True},
        "truncate_prompt_tokens": {"input": "a b c", "truncate_prompt_tokens": 2},
        "embedding_type": "base64",
        "output_dtype": "ubinary",
    },
    "/": {
        "inputs": "b",
        "prompt_name": "query",
        "truncate": {"inputs": _LONG, "truncate": True},
        "truncation_direction": {"inputs": _LONG, "truncate": True, "truncation_direction": "Left"},
        "dimensions": 32,
        "parameters": {"inputs": {"source_sentence": "a", "sentences": ["b"]}, "parameters": {"prompt_name": "query"}},
    },
    "/embed": {
        "inputs": "b",
        "prompt_name": "query",
        "truncate": {"inputs": _LONG, "truncate": True},
        "truncation_direction": {"inputs": _LONG, "truncate": True, "truncation_direction": "Left"},
        "dimensions": 32,
    },
    "/similarity": {
        "inputs": {"inputs": {"source_sentence": "a", "sentences": ["c"]}},
        "parameters": {"inputs": {"source_sentence": "a", "sentences": ["b"]}, "parameters": {"prompt_name": "query"}},
    },
    "/v1/rerank": {
        "query": "other",
        "documents": ["other"],
        "model": "nonesuch",
        "top_n": {"query": "q", "documents": ["a", "b"], "top_n": 1},
        "top_k": {"query": "q", "documents": ["a", "b"], "top_k": 1},
        "return_documents": True,
        "instruction": "Find a fruit",
        "truncate": {"query": "q", "documents": [_LONG], "truncate": False},
        "truncation": {"query": "q", "documents": [_LONG], "truncation": False},
        "raw_scores": True,
        "max_tokens_per_doc": 5,
    },
    "/rerank": {
        "query": "other",
        "texts": ["other"],
        "raw_scores": True,
        "top_n": {"query": "q", "texts": ["a", "b"], "top_n": 1},
        "return_text": True,
        "truncate": {"query": "q", "texts": [_LONG], "truncate": True},
        "truncation_direction": {
            "query": "q",
            "texts": [_LONG],
            "truncate": True,
            "truncation_direction": "Left",
        },
    },
    "/v1/embed": {
        "model": "nonesuch",
        "texts": ["b"],
        "inputs": {"inputs": [{"content": [{"type": "text", "text": "b"}]}]},
        "input_type": "search_query",
        "embedding_types": ["ubinary"],
        "output_dimension": 32,
        "truncate": {"texts": [_LONG], "truncate": "NONE"},
        "max_tokens": {"texts": ["a b c"], "max_tokens": 2},
    },
    "/v1/ranking": {
        "query": {"text": "other"},
        "passages": [{"text": "other"}],
        "model": "nonesuch",
        "truncate": {"query": {"text": "q"}, "passages": [{"text": _LONG}], "truncate": "END"},
        "top_k": {"query": {"text": "q"}, "passages": [{"text": "a"}, {"text": "b"}], "top_k": 1},
    },
    "/score": {
        "text_1": "other",
        "text_2": "other",
        "queries": {"queries": "q", "text_2": "a"},
        "documents": {"text_1": "q", "documents": "a"},
        "model": "nonesuch",
        "truncate_prompt_tokens": {"text_1": "q", "text_2": _LONG, "truncate_prompt_tokens": -1},
        "instruction": "Find a fruit",
    },
    "/pooling": {
        "input": "b",
        "model": "nonesuch",
        "task": "token_embed",
        "dimensions": 32,
        "encoding_format": "base64",
        "truncate_prompt_tokens": {"input": "a b c", "truncate_prompt_tokens": 2},
    },
    "/detokenize": {"tokens": [66], "model": "nonesuch"},
    "/decode": {"ids": [66], "skip_special_tokens": {"ids": [65, 256], "skip_special_tokens": False}},
    "/tokenize": {"inputs": "b", "add_special_tokens": False, "prompt_name": "query"},
    "/api/embed": {
        "model": "nonesuch",
        "input": "b",
        "truncate": {"model": "qwen3-embedding", "input": _LONG, "truncate": False},
        "dimensions": 32,
        "options": {"model": "qwen3-embedding", "input": "a b c", "options": {"num_ctx": 2}},
    },
    "/api/embeddings": {
        "model": "nonesuch",
        "prompt": "b",
        "options": {"model": "qwen3-embedding", "prompt": "a b c", "options": {"num_ctx": 2}},
    },
    "/api/show": {"model": "nonesuch", "name": {"name": "qwen3-reranker"}},
}
EXAMPLES["/v2/embed"] = EXAMPLES["/v1/embed"]
EXAMPLES["/v2/rerank"] = EXAMPLES["/v1/rerank"]
EXAMPLES["/api/pull"] = {"model": "nonesuch", "name": {"name": "nonesuch"}}
# The second body of a route that two APIs share.
OTHERS: dict[str, dict[str, Any]] = {
    "/rerank": EXAMPLES["/v1/rerank"],
    "/tokenize": {"prompt": "b", "model": "nonesuch", "add_special_tokens": False, "return_token_strs": True},
    "/invocations": EXAMPLES["/rerank"],
}
EXAMPLES["/invocations"] = EXAMPLES["/embed"]
_DECLARED = list(bodies_of(create_app()))


def kind_for(path: str, body: dict[str, Any]) -> type[RequestBody]:
    """Give the body's declaration."""
    (kind,) = [kind for route, kind in _DECLARED if route == path and set(body) <= set(kind.model_fields)]
    return kind


def answer(http: httpx.Client, path: str, body: dict[str, Any]) -> tuple[int, object]:
    """Give status and content of an answer, without what no two answers share."""
    response = http.post(path, json=body)
    content = response.json()
    if isinstance(content, dict):
        content = {name: value for name, value in content.items() if name not in _OF_ONE_ANSWER}
    return response.status_code, content


@pytest.mark.parametrize(("path", "body"), BOTH)
def test_a_field_that_would_change_the_result_is_supported_or_refused(
    http: httpx.Client, path: str, body: dict[str, Any]
) -> None:
    kind = kind_for(path, body)
    plain = answer(http, path, body)
    assert plain[0] == 200
    for field, known in kind.changing.items():
        if field in kind.model_fields:
            continue
        response = http.post(path, json={**body, field: "some-value"})
        assert response.status_code in (400, 422), field
        assert failure_text(path, response.json()).startswith(f"{field}: "), field
        for neutral in (None, *known.neutral):
            assert answer(http, path, {**body, field: neutral}) == plain, (field, neutral)


@pytest.mark.parametrize(("path", "body"), BOTH)
def test_other_fields_change_nothing(http: httpx.Client, path: str, body: dict[str, Any]) -> None:
    kind = kind_for(path, body)
    plain = answer(http, path, body)
    for field in (*kind.harmless, "unknown_to_all"):
        assert answer(http, path, {**body, field: False}) == plain, field
    nothing = {field: None for field in kind.model_fields if field not in body}
    assert answer(http, path, {**body, **nothing}) == plain, "null is not given"


@pytest.mark.parametrize(("path", "body"), BOTH)
def test_a_supported_field_changes_the_answer(http: httpx.Client, path: str, body: dict[str, Any]) -> None:
    kind = kind_for(path, body)
    examples = (OTHERS if (path, body) in BOTH[-len(OTHERS) :] else EXAMPLES)[path]
    assert set(examples) == set(kind.model_fields), "each field has an example, and each example a field"
    plain = answer(http, path, body)
    for field, example in examples.items():
        if not isinstance(example, dict) or field not in example:
            assert answer(http, path, {**body, field: example}) != plain, field
            continue
        without = {name: value for name, value in example.items() if name != field}
        assert answer(http, path, example) != answer(http, path, without), field


def test_a_gateway_runs_to_begin_with(gateway: Gateway) -> None:
    assert {path for path, _ in _DECLARED if "{" not in path} == {
        *(path for path, _ in BOTH),
        *("/embeddings", "/openai/v1/embeddings", "/v1/score", "/reranker/rerank"),
    }, "the routes that are not tested here share the code of one that is"
    assert gateway.url


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        ("/v1/embeddings", {"input": [{"text": "a"}, {"text": "b", "image": "x"}]}, "input[1].image"),
        ("/v1/ranking", {"query": {"text": "q", "image": "x"}, "passages": [{"text": "a"}]}, "query.image"),
        ("/v1/ranking", {"query": {"text": "q"}, "passages": [{"text": "a", "image": "x"}]}, "passages[0].image"),
        ("/v2/embed", {"inputs": [{"content": [{"type": "text", "text": "a"}], "images": ["x"]}]}, "inputs[0].images"),
        (
            "/v2/embed",
            {"inputs": [{"content": [{"type": "text", "text": "a", "image_url": {}}]}]},
            "inputs[0].content[0].image_url",
        ),
        (
            "/similarity",
            {"inputs": {"source_sentence": "a", "sentences": ["b"], "prompt_name": "query"}},
            "inputs.prompt_name",
        ),
        (
            "/similarity",
            {"inputs": {"source_sentence": "a", "sentences": ["b"]}, "parameters": {"dimensions": 32}},
            "parameters.dimensions",
        ),
        ("/api/embed", {"model": "qwen3-embedding", "input": "a", "options": {"truncate": False}}, "options.truncate"),
    ],
)
def test_a_field_of_an_object_within_the_body_is_not_ignored_either(
    http: httpx.Client, path: str, body: dict[str, Any], where: str
) -> None:
    answer = http.post(path, json=body)
    assert answer.status_code in (400, 422)
    assert failure_text(path, answer.json()).startswith(f"{where}: this route does not support it")
