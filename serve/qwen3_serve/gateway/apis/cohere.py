"""Cohere's embedding API: `POST /v1/embed` and `POST /v2/embed`. Its rerank API is in `rerank`.

https://docs.cohere.com/reference/embed
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from ..api import Api, engine_of, exchange_for
from ..body import RequestBody, body_of, documented
from ..errors import ApiError
from ..json import base64_rows, json_response
from ..known_fields import EMBEDDING, TEXT
from ..middleware.disconnect import while_connected
from ..vector_types import EmbeddingType, check_type, to_type
from .options import InputType, Texts, TruncateEnd, kind_of, truncate_of
from .rerank import RerankErrorResponse, render_cohere_error


class CohereText(RequestBody):
    """A part of an input."""

    changing = TEXT

    type: Literal["text"]
    text: str


class CohereInput(RequestBody):
    """A text in parts, which are joined."""

    changing = TEXT

    content: Annotated[list[CohereText], Field(min_length=1)]


class CohereEmbedRequest(RequestBody):
    """The body of `POST /v1/embed` and `POST /v2/embed`."""

    changing = EMBEDDING
    harmless = frozenset({"priority"})

    model: str | None = Field(None, description="A name from GET /v1/models, or an alias.")
    texts: Texts | None = None
    inputs: list[CohereInput] | None = Field(None, description="Instead of texts; only parts of type text.")
    input_type: InputType | None = Field(
        None, description="search_query puts the instruction for queries before the texts; no other value does."
    )
    embedding_types: list[EmbeddingType | Literal["base64"]] | None = Field(
        None, min_length=1, description="Float by default; int8 and uint8 only if the gateway has a calibration."
    )
    output_dimension: int | None = Field(None, ge=1, description="Length of the vectors; the model's by default.")
    truncate: TruncateEnd | None = Field(None, description="Which end a text that is too long loses; END by default.")
    max_tokens: int | None = Field(None, ge=1, description="Most tokens of one text.")


class CohereEmbedResponse(BaseModel):
    """The response of both."""

    id: str
    texts: list[str]
    embeddings: list[list[float]] | dict[str, Any]
    meta: dict[str, Any]


router = APIRouter(tags=["Cohere and Jina"])


@router.post(
    "/v1/embed",
    summary="Embed texts",
    openapi_extra=documented(CohereEmbedRequest),
    responses={200: {"model": CohereEmbedResponse}},
)
async def embed_v1(request: Request) -> Response:
    """Embed texts; without `embedding_types`, the response has a list of vectors."""
    return await _embed(request, version="1")


@router.post(
    "/v2/embed",
    summary="Embed texts",
    openapi_extra=documented(CohereEmbedRequest),
    responses={200: {"model": CohereEmbedResponse}},
)
async def embed_v2(request: Request) -> Response:
    """Embed texts; the response has the vectors by type."""
    return await _embed(request, version="2")


async def _embed(request: Request, *, version: str) -> Response:
    body = await body_of(request, CohereEmbedRequest)
    texts = _texts(body)
    engine, calibration = engine_of(request), request.app.state.calibration
    kinds: list[EmbeddingType | Literal["base64"]] = body.embedding_types or ["float"]
    full = (await engine.embedding_model(body.model)).dimensions
    for kind in kinds:  # refused before the vectors are computed
        if kind != "base64":
            check_type(kind, dimensions=body.output_dimension or full, calibration=calibration)
    exchange = exchange_for(request)
    embedded = await while_connected(
        request.receive,
        engine.embed(
            texts,
            exchange=exchange,
            model=body.model,
            kind=kind_of(body.input_type or "document"),
            dimensions=body.output_dimension,
            truncate=truncate_of(body.truncate or "END"),
            max_tokens=body.max_tokens,
        ),
    )
    vectors = embedded.vectors
    by_type: dict[str, Any] = {
        kind: base64_rows(vectors) if kind == "base64" else to_type(vectors, kind, calibration=calibration)
        for kind in kinds
    }
    is_plain = version == "1" and body.embedding_types is None
    return json_response(
        {
            "id": exchange.request_id,
            "texts": texts,
            "embeddings": by_type["float"] if is_plain else by_type,
            "response_type": "embeddings_floats" if is_plain else "embeddings_by_type",
            "meta": {
                "api_version": {"version": version},
                "billed_units": {"input_tokens": embedded.tokens},
                **({"warnings": warnings} if (warnings := exchange.warnings()) else {}),
            },
        }
    )


def _texts(body: CohereEmbedRequest) -> list[str]:
    if body.texts is not None and body.inputs is not None:
        raise ApiError("invalid", "texts and inputs: give one of them", param="inputs")
    if body.inputs is not None:
        return ["".join(part.text for part in each.content) for each in body.inputs]
    if body.texts is None:
        raise ApiError("malformed", "texts: a list of texts is required", param="texts")
    return body.texts


COHERE = Api(
    router=router,
    paths=("/v1/embed", "/v2/"),
    render_error=render_cohere_error,
    schemas=(CohereEmbedRequest, CohereInput, CohereText),
    error_schema=RerankErrorResponse,
)
