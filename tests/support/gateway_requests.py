"""The smallest request of each route of the gateway that takes a body."""

from typing import Any

ROUTES: dict[str, dict[str, Any]] = {
    "/v1/embeddings": {"input": "a"},
    "/v1/rerank": {"query": "q", "documents": ["a"]},
    "/v2/rerank": {"query": "q", "documents": ["a"]},
    "/": {"inputs": "a"},
    "/embed": {"inputs": "a"},
    "/similarity": {"inputs": {"source_sentence": "a", "sentences": ["b"]}},
    "/rerank": {"query": "q", "texts": ["a"]},
    "/tokenize": {"inputs": "a"},
    "/api/embed": {"model": "qwen3-embedding", "input": "a"},
    "/api/embeddings": {"model": "qwen3-embedding", "prompt": "a"},
    "/api/show": {"model": "qwen3-embedding"},
    "/api/pull": {"model": "qwen3-embedding"},
    "/decode": {"ids": [65]},
    "/invocations": {"inputs": "a"},
    "/v1/embed": {"texts": ["a"]},
    "/v2/embed": {"texts": ["a"]},
    "/v1/ranking": {"query": {"text": "q"}, "passages": [{"text": "a"}]},
    "/score": {"text_1": "q", "text_2": "a"},
    "/pooling": {"input": "a"},
    "/detokenize": {"tokens": [65]},
}
# The second body of a route that two APIs share.
OTHER_BODIES: dict[str, dict[str, Any]] = {
    "/rerank": {"query": "q", "documents": ["a"]},
    "/tokenize": {"prompt": "a"},
    "/invocations": {"query": "q", "texts": ["a"]},
}
BOTH = [*ROUTES.items(), *OTHER_BODIES.items()]
