"""An HTTP gateway to a Triton that serves Qwen3-Embedding and Qwen3-Reranker, for programs that use another API.

    qwen3-triton gateway --triton localhost:8001

It offers the APIs of OpenAI, Cohere and Jina, Text Embeddings Inference, and Ollama, each with its own fields and
errors, so that existing programs need no change but the URL. It holds no state: every answer comes from Triton, through
`qwen3_client.AsyncClient`, and any number of gateways may run in front of one Triton.

Read on in this order: `app` (how the parts fit together), `apis.openai` (one API from request to answer), `engine`
(what all APIs share), `admission` and `middleware.limits` (how much is accepted), `errors` and
`middleware.error_responses` (API error responses).
"""

from typing import TYPE_CHECKING, Any

from .settings import Settings

if TYPE_CHECKING:
    from .app import create_app

__all__ = ["Settings", "create_app"]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    # Imported late, so that `qwen3-triton --help` neither waits for FastAPI nor needs it.
    if name == "create_app":
        from .app import create_app

        return create_app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
