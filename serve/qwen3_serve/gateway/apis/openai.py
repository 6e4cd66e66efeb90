"""OpenAI's API: `POST /v1/embeddings` and `GET /v1/models`, with the fields that NIM, Jina, vLLM and Voyage add to it.

A text is embedded as it is, unless `input_type` or `task` says that it is a query: programs that follow the model card
put the instruction before their queries themselves. Azure's paths, and those of servers without `/v1`, do the same.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import APIRouter
from qwen3_client import ModelInfo, RerankerInfo
from starlette.requests import Request
from starlette.responses import Response

from ..api import Api, engine_of, exchange_for
from ..body import body_of, documented
from ..engine import Kind
from ..errors import ApiError, Cause
from ..json import base64_rows, json_response
from ..middleware.disconnect import while_connected
from ..names import public_name
from ..vector_types import EmbeddingType, check_type, to_type
from .openai_bodies import (
    EmbeddingRequest,
    EmbeddingResponse,
    Model,
    ModelsResponse,
    OpenAIErrorResponse,
    TextObject,
)
from .options import kind_of, one_of, truncate_of

# NIM also takes the kind of text as a suffix of the model's name, for clients that cannot send input_type.
_SUFFIXES: dict[str, Kind] = {"query": "query", "passage": "document"}

_Handler = TypeVar("_Handler", bound=Callable[..., Any])

router = APIRouter(tags=["OpenAI"])


def _embeddings_route(path: str) -> Callable[[_Handler], _Handler]:
    return router.post(
        path,
        summary="Embed texts",
        openapi_extra=documented(EmbeddingRequest),
        responses={200: {"model": EmbeddingResponse}},
    )


@_embeddings_route("/v1/embeddings")
@_embeddings_route("/embeddings")
@_embeddings_route("/openai/v1/embeddings")
async def embeddings(request: Request) -> Response:
    """Embed a text or several, as strings or as token ids."""
    return await _embed(request, await body_of(request, EmbeddingRequest))


@_embeddings_route("/openai/deployments/{deployment}/embeddings")
async def azure_embeddings(request: Request, deployment: str) -> Response:
    """Embed texts as Azure's clients ask for it: the path names the model."""
    body = await body_of(request, EmbeddingRequest)
    return await _embed(request, body.model_copy(update={"model": body.model or deployment}))


async def _embed(request: Request, body: EmbeddingRequest) -> Response:
    model, kind = _model_and_kind(body, aliases=request.app.state.settings.model_aliases)
    if body.instruction is not None and kind != "query":
        raise ApiError("invalid", "an instruction goes with input_type query only", param="instruction")
    dimensions = one_of(body, "dimensions", "output_dimension") or None
    engine, embedding_type, is_base64 = engine_of(request), *_number_format(body)
    calibration = request.app.state.calibration
    if embedding_type != "float":  # refused before the vectors are computed
        full = (await engine.embedding_model(model)).dimensions
        check_type(embedding_type, dimensions=dimensions or full, calibration=calibration)
    max_tokens = body.truncate_prompt_tokens
    if max_tokens == 0:
        raise ApiError("invalid", "truncate_prompt_tokens: no token would be left", param="truncate_prompt_tokens")
    cuts = {truncate_of(wanted) for wanted in (body.truncate, body.truncation) if wanted is not None}
    if len(cuts) > 1:
        raise ApiError("invalid", "truncate and truncation contradict each other: give one of them", param="truncate")
    embedded = await while_connected(
        request.receive,
        engine.embed(
            _inputs(body),
            exchange=exchange_for(request),
            model=model,
            kind=kind,
            instruction=body.instruction,
            dimensions=dimensions,
            truncate=cuts.pop() if cuts else truncate_of(max_tokens is not None),
            max_tokens=None if max_tokens == -1 else max_tokens,
        ),
    )
    vectors = to_type(embedded.vectors, embedding_type, calibration=calibration)
    rows = base64_rows(vectors) if is_base64 else vectors
    return json_response(
        {
            "object": "list",
            "data": [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(rows)],
            "model": body.model or public_name(embedded.info),
            "usage": {"prompt_tokens": embedded.tokens, "total_tokens": embedded.tokens},
            # OpenAI's name for it in other responses; its client and LangChain's keep or ignore further fields.
            "system_fingerprint": embedded.info.fingerprint,
        }
    )


@router.get("/models", summary="List the served models", responses={200: {"model": ModelsResponse}})
@router.get("/openai/v1/models", summary="List the served models", responses={200: {"model": ModelsResponse}})
@router.get("/v1/models", summary="List the served models", responses={200: {"model": ModelsResponse}})
async def models(request: Request) -> Response:
    """List the embedding model and the reranker, or the one that is served."""
    return json_response({"object": "list", "data": [_listed(info) for info in await _served(request)]})


@router.get("/v1/models/{name:path}", summary="Describe a served model", responses={200: {"model": Model}})
async def model(request: Request, name: str) -> Response:
    """Describe one of the served models."""
    engine = engine_of(request)
    try:
        return json_response(_listed(await engine.embedding_model(name)))
    except ApiError:
        return json_response(_listed(await engine.reranker(name)))


async def _served(request: Request) -> list[ModelInfo | RerankerInfo]:
    """Return the served models; one of the two kinds may be missing."""
    engine = engine_of(request)
    found: list[ModelInfo | RerankerInfo] = []
    missing: ApiError | None = None
    for ask in (engine.embedding_model, engine.reranker):
        try:
            found.append(await ask())
        except ApiError as error:
            missing = error
    if not found and missing is not None:
        raise missing
    return found


def _listed(info: ModelInfo | RerankerInfo) -> dict[str, Any]:
    return {"id": public_name(info), "object": "model", "created": 0, "owned_by": "qwen3-triton"}


def _inputs(body: EmbeddingRequest) -> Any:  # noqa: ANN401
    """Return the texts, or for each text its token ids."""
    given = body.input
    if isinstance(given, str) or (given and isinstance(given[0], int)):
        return [given]
    return [each.text if isinstance(each, TextObject) else each for each in given]


def _number_format(body: EmbeddingRequest) -> tuple[EmbeddingType, bool]:
    """Return the type of the numbers, and whether they are wanted in base64."""
    if body.embedding_type == "base64":
        if body.encoding_format == "float":
            raise ApiError(
                "invalid", "encoding_format float contradicts embedding_type base64", param="encoding_format"
            )
        return body.output_dtype or "float", True
    wanted: EmbeddingType | None = one_of(body, "embedding_type", "output_dtype")
    return wanted or "float", body.encoding_format == "base64"


def _model_and_kind(body: EmbeddingRequest, *, aliases: tuple[str, ...]) -> tuple[str | None, Kind]:
    """Return the model's name in the request and the kind of its texts, which may be a suffix of the name."""
    kinds = [kind_of(wanted) for wanted in (body.input_type, body.task) if wanted is not None]
    if len(set(kinds)) > 1:
        raise ApiError("invalid", "input_type and task contradict each other: give one of them", param="task")
    if kinds:
        return body.model, kinds[0]
    name, _, suffix = (body.model or "").rpartition("-")
    if not name or suffix not in _SUFFIXES:
        return body.model, "document"
    is_alias = (body.model or "").lower() in (alias.lower() for alias in aliases)  # an alias may end like a suffix
    return (body.model if is_alias else name), _SUFFIXES[suffix]


_TYPES: dict[Cause, str] = {
    "unauthorized": "authentication_error",
    "overloaded": "rate_limit_error",
    "unavailable": "server_error",
    "timeout": "server_error",
    "internal": "server_error",
}
_CODES: dict[Cause, str] = {
    "unauthorized": "invalid_api_key",
    "no_model": "model_not_found",
    "too_long": "context_length_exceeded",
    "overloaded": "rate_limit_exceeded",
    "unavailable": "service_unavailable",
    "timeout": "timeout",
    "internal": "internal_error",
}


def render_openai_error(error: ApiError, _request_id: str) -> tuple[int, dict[str, Any]]:
    """Return the status and the JSON of an error, as OpenAI's clients read it, with Jina's `detail`."""
    return error.status, {
        "error": {
            "message": error.message,
            "type": _TYPES.get(error.cause, "invalid_request_error"),
            "param": error.param,
            "code": _CODES.get(error.cause),
        },
        "detail": error.message,
    }


OPENAI = Api(
    router=router,
    paths=("/v1/", "/embeddings", "/models", "/openai/"),
    render_error=render_openai_error,
    schemas=(EmbeddingRequest, TextObject),
    error_schema=OpenAIErrorResponse,
)
