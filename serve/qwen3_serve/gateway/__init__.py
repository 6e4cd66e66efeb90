"""An HTTP gateway to a Triton that serves Qwen3-Embedding and Qwen3-Reranker, for tools that speak another API.

    qwen3-triton gateway --triton localhost:8001

It answers as OpenAI, Cohere and Jina, Text Embeddings Inference, and Ollama do, each with its own fields and its own
errors, so that existing programs need no change but the URL. It holds no state: every answer comes from Triton, through
`qwen3_client.AsyncClient`, and any number of gateways may stand in front of one Triton.

Read on in this order: `app` (how the parts fit together), `apis.openai` (one API from request to answer), `engine`
(what all APIs share), `admission` and `middleware.limits` (how much is taken on), `errors` and `middleware.boundary`
(what happens otherwise).
"""

from typing import TYPE_CHECKING, Any

from .settings import Settings

if TYPE_CHECKING:
    from .app import create_app

__all__ = ["Settings", "create_app"]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    # Late, so that `qwen3-triton --help` does not wait for FastAPI, nor need it.
    if name == "create_app":
        from .app import create_app

        return create_app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
