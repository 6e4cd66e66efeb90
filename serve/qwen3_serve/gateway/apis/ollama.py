"""The part of Ollama's API that embeddings need: `POST /api/embed`, `POST /api/embeddings`, and the lists of models.

https://github.com/ollama/ollama/blob/main/docs/api.md. As there, a request without a text gets an empty response:
clients send one to have a model loaded. `POST /api/pull` of a served model succeeds at once.
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
from ..known_fields import EMBEDDING
from ..middleware.disconnect import while_connected
from ..names import ollama_name
from .options import Texts

_EPOCH = "1970-01-01T00:00:00Z"


class OllamaOptions(RequestBody):
    """The options of a request. All of Ollama's but this one concern text generation."""

    changing = EMBEDDING

    num_ctx: int | None = Field(None, ge=1, description="Most tokens of one text.")


class OllamaEmbedRequest(RequestBody):
    """The body of `POST /api/embed`."""

    changing = EMBEDDING
    harmless = frozenset({"keep_alive"})

    model: str = Field(min_length=1)
    input: Annotated[str | Texts | None, Field(union_mode="left_to_right", description="A text, or texts.")] = None
    truncate: bool | None = Field(
        None, description="Whether to cut the end of a text that is too long; true by default."
    )
    dimensions: int | None = Field(None, ge=0, description="Length of the vectors; 0, or no value, for the model's.")
    options: OllamaOptions | None = None


class OllamaEmbeddingsRequest(RequestBody):
    """The body of `POST /api/embeddings`, which `/api/embed` supersedes."""

    changing = EMBEDDING
    harmless = frozenset({"keep_alive"})

    model: str = Field(min_length=1)
    prompt: str | None = Field(None, description="A text.")
    options: OllamaOptions | None = None


class OllamaModelRequest(RequestBody):
    """The body of `POST /api/show` and `POST /api/pull`; `name` is the older name of `model`."""

    harmless = frozenset({"insecure", "stream", "system", "template", "verbose"})

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
                max_tokens=body.options.num_ctx if body.options else None,
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
        engine.embed(
            [body.prompt],
            exchange=exchange_for(request),
            model=body.model,
            truncate="end",
            max_tokens=body.options.num_ctx if body.options else None,
        ),
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


@router.post("/api/show", summary="Describe a model", openapi_extra=documented(OllamaModelRequest))
async def show(request: Request) -> Response:
    """Describe one of the served models."""
    info = await _named(request)
    facts: dict[str, Any] = {"qwen3.embedding_length": info.dimensions} if isinstance(info, ModelInfo) else {}
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


@router.post("/api/pull", summary="Have a model downloaded", openapi_extra=documented(OllamaModelRequest))
async def pull(request: Request) -> Response:
    """Answer that a served model is there. One line of JSON is also a stream of one event."""
    await _named(request)
    return json_response({"status": "success"})


@router.get("/api/version", summary="Return the version")
async def version() -> Response:
    """Return the version of qwen3-triton."""
    return json_response({"version": __version__})


async def _named(request: Request) -> ModelInfo | RerankerInfo:
    """Return the served model that a request's body names."""
    body = await body_of(request, OllamaModelRequest)
    name = body.model or body.name
    if not name:
        raise ApiError("malformed", "model: the name of a model is required", param="model")
    try:
        return await engine_of(request).embedding_model(name)
    except ApiError:
        return await engine_of(request).reranker(name)


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
    schemas=(OllamaEmbedRequest, OllamaEmbeddingsRequest, OllamaModelRequest),
    error_schema=OllamaErrorResponse,
)
