"""The part of Ollama's API that embeddings need: `POST /api/embed`, `POST /api/embeddings`, and the lists of models.

https://github.com/ollama/ollama/blob/main/docs/api.md. As there, a request without a text gets an empty response:
clients send one to have a model loaded.
"""

from time import perf_counter_ns
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from qwen3_client import ModelInfo, RerankerInfo, __version__
from starlette.requests import Request
from starlette.responses import Response

from ..api import Api, engine_of, exchange_for
from ..body import RequestBody, body_of, documented
from ..errors import ApiError
from ..json import json_response
from ..middleware.disconnect import while_connected
from ..names import ollama_name

_EPOCH = "1970-01-01T00:00:00Z"

Texts = Annotated[list[str], Field(fail_fast=True)]


class OllamaEmbedRequest(RequestBody):
    """The body of `POST /api/embed`."""

    model: str = Field(min_length=1)
    input: Annotated[str | Texts | None, Field(union_mode="left_to_right", description="A text, or texts.")] = None
    truncate: bool | None = Field(
        None, description="Whether to cut the end of a text that is too long; true by default."
    )
    dimensions: int | None = Field(None, ge=0, description="Length of the vectors; 0, or no value, for the model's.")
    keep_alive: str | float | None = Field(None, description="Accepted and ignored: models stay loaded.")
    options: dict[str, Any] | None = Field(None, description="Accepted and ignored: they concern text generation.")


class OllamaEmbeddingsRequest(RequestBody):
    """The body of `POST /api/embeddings`, which `/api/embed` supersedes."""

    model: str = Field(min_length=1)
    prompt: str | None = Field(None, description="A text.")
    keep_alive: str | float | None = Field(None, description="Accepted and ignored: models stay loaded.")
    options: dict[str, Any] | None = Field(None, description="Accepted and ignored: they concern text generation.")


class OllamaShowRequest(RequestBody):
    """The body of `POST /api/show`; `name` is the older name of `model`."""

    model: str | None = None
    name: str | None = None


class OllamaEmbedResponse(BaseModel):
    """The response of `POST /api/embed`; durations in nanoseconds."""

    model: str
    embeddings: list[list[float]]
    total_duration: int
    load_duration: int
    prompt_eval_count: int


class OllamaEmbeddingsResponse(BaseModel):
    """The response of `POST /api/embeddings`."""

    embedding: list[float]


class OllamaErrorResponse(BaseModel):
    """The body of an error response."""

    error: str


router = APIRouter(tags=["Ollama"])


@router.post(
    "/api/embed",
    summary="Embed texts",
    openapi_extra=documented(OllamaEmbedRequest),
    responses={200: {"model": OllamaEmbedResponse}},
)
async def embed(request: Request) -> Response:
    """Embed a text or several."""
    started = perf_counter_ns()
    body = await body_of(request, OllamaEmbedRequest)
    texts = [body.input] if isinstance(body.input, str) and body.input else body.input or []
    engine = engine_of(request)
    vectors: Any = []
    if texts:
        embedded = await while_connected(
            request.receive,
            engine.embed(
                texts,
                exchange=exchange_for(request),
                model=body.model,
                dimensions=body.dimensions or None,
                truncate=False if body.truncate is False else "end",
            ),
        )
        vectors = embedded.vectors
    else:
        await engine.embedding_model(body.model)
    return json_response(
        {
            "model": body.model,
            "embeddings": vectors,
            "total_duration": perf_counter_ns() - started,
            "load_duration": 0,
            "prompt_eval_count": exchange_for(request).tokens,
        }
    )


@router.post(
    "/api/embeddings",
    summary="Embed a text",
    openapi_extra=documented(OllamaEmbeddingsRequest),
    responses={200: {"model": OllamaEmbeddingsResponse}},
)
async def embeddings(request: Request) -> Response:
    """Embed one text."""
    body = await body_of(request, OllamaEmbeddingsRequest)
    engine = engine_of(request)
    if not body.prompt:
        await engine.embedding_model(body.model)
        return json_response({"embedding": []})
    embedded = await while_connected(
        request.receive,
        engine.embed([body.prompt], exchange=exchange_for(request), model=body.model, truncate="end"),
    )
    return json_response({"embedding": embedded.vectors[0]})


@router.get("/api/tags", summary="List the served models")
async def tags(request: Request) -> Response:
    """List the embedding model and the reranker, or the one that is served."""
    engine = engine_of(request)
    found: list[dict[str, Any]] = []
    for ask in (engine.embedding_model, engine.reranker):
        try:
            found.append(_listed(await ask()))
        except ApiError:  # one of the two may be missing
            continue
    return json_response({"models": found})


@router.get("/api/ps", summary="List the models that are loaded")
async def loaded(request: Request) -> Response:
    """List what `/api/tags` lists: every served model is loaded."""
    return await tags(request)


@router.post("/api/show", summary="Describe a model", openapi_extra=documented(OllamaShowRequest))
async def show(request: Request) -> Response:
    """Describe one of the served models."""
    body = await body_of(request, OllamaShowRequest)
    name = body.model or body.name
    if not name:
        raise ApiError("malformed", "model: the name of a model is required", param="model")
    info: ModelInfo | RerankerInfo
    try:
        info = await engine_of(request).embedding_model(name)
        facts: dict[str, Any] = {"qwen3.embedding_length": info.dimensions}
    except ApiError:
        info = await engine_of(request).reranker(name)
        facts = {}
    return json_response(
        {
            "license": "",
            "modelfile": "",
            "parameters": "",
            "template": "",
            "details": _details(info),
            "model_info": {"general.architecture": "qwen3", "qwen3.context_length": info.max_tokens, **facts},
            "capabilities": ["embedding"] if facts else [],
            "modified_at": _EPOCH,
        }
    )


@router.get("/api/version", summary="Return the version")
async def version() -> Response:
    """Return the version of qwen3-triton."""
    return json_response({"version": __version__})


def _listed(info: ModelInfo | RerankerInfo) -> dict[str, Any]:
    return {
        "name": ollama_name(info),
        "model": ollama_name(info),
        "modified_at": _EPOCH,
        "size": 0,
        "digest": info.revision or info.tokenizer_sha256,
        "details": _details(info),
    }


def _details(info: ModelInfo | RerankerInfo) -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "onnx",
        "family": "qwen3",
        "families": ["qwen3"],
        "parameter_size": info.model_size,
        "quantization_level": info.precision,
    }


def _render_error(error: ApiError, _request_id: str) -> tuple[int, dict[str, Any]]:
    return error.status, {"error": error.message}


OLLAMA = Api(
    router=router,
    paths=("/api/",),
    render_error=_render_error,
    schemas=(OllamaEmbedRequest, OllamaEmbeddingsRequest, OllamaShowRequest),
    error_schema=OllamaErrorResponse,
)
