"""OpenAI's API: `POST /v1/embeddings` and `GET /v1/models`, with the fields that NVIDIA's NIM adds to it.

A text is embedded as it is, unless `input_type` is "query": programs that follow the model card put the instruction
before their queries themselves.
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
from ..errors import ApiError, Cause
from ..inputs import Truncate
from ..json import base64_rows, json_response
from ..middleware.disconnect import while_connected
from ..names import public_name
from ..vector_types import EmbeddingType, check_type, to_type

_MAX_ID = 2**31 - 1
_TRUNCATE: dict[str, Truncate] = {"NONE": False, "START": "start", "END": "end"}
# NIM also takes the kind of text as a suffix of the model's name, for clients that cannot send input_type.
_KINDS: dict[str, Kind] = {"query": "query", "passage": "document"}

TokenId = Annotated[int, Field(ge=0, le=_MAX_ID)]
Texts = Annotated[list[str], Field(fail_fast=True)]
TokenIds = Annotated[list[TokenId], Field(fail_fast=True)]
TokenIdLists = Annotated[list[TokenIds], Field(fail_fast=True)]


class EmbeddingRequest(RequestBody):
    """The body of `POST /v1/embeddings`."""

    input: Annotated[
        str | Texts | TokenIds | TokenIdLists,
        Field(
            union_mode="left_to_right",
            description="A text, a list of texts, the token ids of a text, or a list of these.",
        ),
    ]
    model: str | None = Field(None, description="A name from GET /v1/models, an alias, or Ollama's name.")
    dimensions: int | None = Field(None, ge=1, description="Length of the vectors; the model's by default.")
    encoding_format: Literal["float", "base64"] | None = Field(None, description="The default is float.")
    user: str | None = Field(None, description="Accepted and ignored.")
    input_type: Literal["query", "passage"] | None = Field(
        None, description="NIM: query puts the instruction for queries before the texts; the default is passage."
    )
    instruction: str | None = Field(
        None, min_length=1, description="The task of queries, in one sentence; only with input_type query."
    )
    truncate: Literal["NONE", "START", "END"] | None = Field(
        None, description="NIM: which end a text that is too long loses; the default NONE refuses it."
    )
    embedding_type: EmbeddingType | None = Field(
        None,
        description="NIM: type of the numbers, float by default; int8 and uint8 only if the gateway has a calibration.",
    )


class Embedding(BaseModel):
    """One vector of the response."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """The number of tokens that the model read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingResponse(BaseModel):
    """The response of `POST /v1/embeddings`."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage
    system_fingerprint: str | None


class Model(BaseModel):
    """One served model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelsResponse(BaseModel):
    """The response of `GET /v1/models`."""

    object: Literal["list"]
    data: list[Model]


class OpenAIError(BaseModel):
    """An error."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIErrorResponse(BaseModel):
    """The body of an error response."""

    error: OpenAIError


router = APIRouter(tags=["OpenAI"])


@router.post(
    "/v1/embeddings",
    summary="Embed texts",
    openapi_extra=documented(EmbeddingRequest),
    responses={200: {"model": EmbeddingResponse}},
)
async def embeddings(request: Request) -> Response:
    """Embed a text or several, as strings or as token ids."""
    body = await body_of(request, EmbeddingRequest)
    model, kind = _model_and_kind(body, aliases=request.app.state.settings.model_aliases)
    if body.instruction is not None and kind != "query":
        raise ApiError("invalid", "an instruction goes with input_type query only", param="instruction")
    inputs = body.input
    if inputs and (isinstance(inputs, str) or isinstance(inputs[0], int)):
        inputs = [inputs]  # type: ignore[assignment]
    engine, embedding_type = engine_of(request), body.embedding_type or "float"
    calibration = request.app.state.calibration
    if embedding_type != "float":  # refused before the vectors are computed
        full = (await engine.embedding_model(model)).dimensions
        check_type(embedding_type, dimensions=body.dimensions or full, calibration=calibration)
    embedded = await while_connected(
        request.receive,
        engine.embed(
            inputs,  # type: ignore[arg-type]
            exchange=exchange_for(request),
            model=model,
            kind=kind,
            instruction=body.instruction,
            dimensions=body.dimensions,
            truncate=_TRUNCATE[body.truncate or "NONE"],
        ),
    )
    vectors = to_type(embedded.vectors, embedding_type, calibration=calibration)
    rows = base64_rows(vectors) if body.encoding_format == "base64" else vectors
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


def _model_and_kind(body: EmbeddingRequest, *, aliases: tuple[str, ...]) -> tuple[str | None, Kind]:
    """Return the model's name in the request and the kind of its texts, which may be a suffix of the name."""
    if body.input_type is not None:
        return body.model, _KINDS[body.input_type]
    name, _, suffix = (body.model or "").rpartition("-")
    if not name or suffix not in _KINDS:
        return body.model, "document"
    is_alias = (body.model or "").lower() in (alias.lower() for alias in aliases)  # an alias may end like a suffix
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


def _render_error(error: ApiError, _request_id: str) -> tuple[int, dict[str, Any]]:
    return error.status, {
        "error": {
            "message": error.message,
            "type": _TYPES.get(error.cause, "invalid_request_error"),
            "param": error.param,
            "code": _CODES.get(error.cause),
        }
    }


OPENAI = Api(
    router=router,
    paths=("/v1/",),
    render_error=_render_error,
    schemas=(EmbeddingRequest,),
    error_schema=OpenAIErrorResponse,
)
