"""OpenAI's API: `POST /v1/embeddings` and `GET /v1/models`, with the fields that NVIDIA's NIM adds to it.

A text is embedded as it is, unless `input_type` says that it is a query: programs that follow the model card put the
instruction before their queries themselves.
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from qwen3_client import ModelInfo, RerankerInfo
from starlette.requests import Request
from starlette.responses import Response

from ..api import Api, engine_of, exchange_for
from ..body import RequestBody, body_of, documented
from ..engine import Kind
from ..errors import Cause, Failure
from ..inputs import Truncate
from ..json import base64_rows, json_response
from ..middleware.disconnect import while_connected
from ..names import public_name
from ..vector_types import EmbeddingType, as_type

__all__ = ["OPENAI"]

_MOST_ID = 2**31 - 1
_TRUNCATE: dict[str, Truncate] = {"NONE": False, "START": "start", "END": "end"}
# NIM takes the kind of text as the end of the model's name too, for clients that cannot send input_type.
_KINDS: dict[str, Kind] = {"query": "query", "passage": "document"}

TokenId = Annotated[int, Field(ge=0, le=_MOST_ID)]
Texts = Annotated[list[str], Field(fail_fast=True)]
TokenIds = Annotated[list[TokenId], Field(fail_fast=True)]
TokenIdLists = Annotated[list[TokenIds], Field(fail_fast=True)]


class EmbeddingRequest(RequestBody):
    """The body of `POST /v1/embeddings`."""

    input: Annotated[
        str | Texts | TokenIds | TokenIdLists,
        Field(union_mode="left_to_right", description="A text, texts, the token ids of a text, or those of texts."),
    ]
    model: str | None = Field(None, description="As listed by GET /v1/models; also an alias, or Ollama's name.")
    dimensions: int | None = Field(None, ge=1, description="Length of the vectors; by default the model's.")
    encoding_format: Literal["float", "base64"] | None = Field(None, description="By default float.")
    user: str | None = Field(None, description="Taken, not used.")
    input_type: Literal["query", "passage"] | None = Field(
        None, description="NIM: whether to put the instruction for queries before the texts; by default not."
    )
    instruction: str | None = Field(
        None, min_length=1, description="The task of queries, in one sentence; only with input_type query."
    )
    truncate: Literal["NONE", "START", "END"] | None = Field(
        None, description="NIM: which part a text that is too long loses; by default NONE, which refuses it."
    )
    embedding_type: EmbeddingType | None = Field(None, description="NIM: type of the numbers; by default float.")


class Embedding(BaseModel):
    """One vector of the answer."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """How many tokens the model read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingResponse(BaseModel):
    """The answer of `POST /v1/embeddings`."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


class Model(BaseModel):
    """One served model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelsResponse(BaseModel):
    """The answer of `GET /v1/models`."""

    object: Literal["list"]
    data: list[Model]


class OpenAIError(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIErrorResponse(BaseModel):
    """The body of a failure."""

    error: OpenAIError


router = APIRouter(tags=["OpenAI"])


@router.post(
    "/v1/embeddings",
    summary="Embed texts",
    openapi_extra=documented(EmbeddingRequest),
    responses={200: {"model": EmbeddingResponse}},
)
async def embeddings(request: Request) -> Response:
    """Embeds a text, texts, or texts that are token ids already."""
    body = await body_of(request, EmbeddingRequest)
    model, kind = _model_and_kind(body, aliases=request.app.state.settings.model_aliases)
    if body.instruction is not None and kind != "query":
        raise Failure("invalid", "an instruction goes with input_type query only", param="instruction")
    inputs = body.input
    if inputs and (isinstance(inputs, str) or isinstance(inputs[0], int)):
        inputs = [inputs]  # type: ignore[assignment]
    embedded = await while_connected(
        request.receive,
        engine_of(request).embed(
            inputs,  # type: ignore[arg-type]
            exchange=exchange_for(request),
            model=model,
            kind=kind,
            instruction=body.instruction,
            dimensions=body.dimensions,
            truncate=_TRUNCATE[body.truncate or "NONE"],
        ),
    )
    vectors = as_type(embedded.vectors, body.embedding_type or "float")
    rows = base64_rows(vectors) if body.encoding_format == "base64" else vectors
    return json_response(
        {
            "object": "list",
            "data": [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(rows)],
            "model": body.model or public_name(embedded.info),
            "usage": {"prompt_tokens": embedded.tokens, "total_tokens": embedded.tokens},
        }
    )


@router.get("/v1/models", summary="List the served models", responses={200: {"model": ModelsResponse}})
async def models(request: Request) -> Response:
    """Lists the embedding model and the reranker, as far as they are served."""
    return json_response({"object": "list", "data": [_listed(info) for info in await _served(request)]})


@router.get("/v1/models/{name:path}", summary="Say whether a model is served", responses={200: {"model": Model}})
async def model(request: Request, name: str) -> Response:
    """Describes one of the served models."""
    engine = engine_of(request)
    try:
        return json_response(_listed(await engine.embedding_model(name)))
    except Failure:
        return json_response(_listed(await engine.reranker(name)))


async def _served(request: Request) -> list[ModelInfo | RerankerInfo]:
    """Returns what is served; one of the two kinds may be missing."""
    engine = engine_of(request)
    found: list[ModelInfo | RerankerInfo] = []
    missing: Failure | None = None
    for ask in (engine.embedding_model, engine.reranker):
        try:
            found.append(await ask())
        except Failure as failure:
            missing = failure
    if not found and missing is not None:
        raise missing
    return found


def _listed(info: ModelInfo | RerankerInfo) -> dict[str, Any]:
    return {"id": public_name(info), "object": "model", "created": 0, "owned_by": "qwen3-triton"}


def _model_and_kind(body: EmbeddingRequest, *, aliases: tuple[str, ...]) -> tuple[str | None, Kind]:
    """The model that was asked for, and what its texts are: NIM tells it by a suffix of the model's name."""
    if body.input_type is not None:
        return body.model, _KINDS[body.input_type]
    name, _, suffix = (body.model or "").rpartition("-")
    if not name or suffix not in _KINDS:
        return body.model, "document"
    is_alias = (body.model or "").lower() in (alias.lower() for alias in aliases)  # one that ends like a suffix
    return (body.model if is_alias else name), _KINDS[suffix]


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


def _render_error(failure: Failure, _request_id: str) -> tuple[int, dict[str, Any]]:
    return failure.status, {
        "error": {
            "message": failure.message,
            "type": _TYPES.get(failure.cause, "invalid_request_error"),
            "param": failure.param,
            "code": _CODES.get(failure.cause),
        }
    }


OPENAI = Api(
    router=router,
    paths=("/v1/",),
    render_error=_render_error,
    schemas=(EmbeddingRequest,),
    failure_schema=OpenAIErrorResponse,
)
