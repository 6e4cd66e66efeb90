"""The rerank API of Cohere and Jina: `POST /v1/rerank` and `POST /v2/rerank`.

Their requests do not differ in the fields that are used here, and the fields of their responses do not conflict, so
each response has the fields of both.
"""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from ..api import Api, engine_of, exchange_for
from ..body import RequestBody, body_of, documented
from ..errors import ApiError
from ..json import json_response
from ..middleware.disconnect import while_connected
from ..names import public_name


class RerankDocument(RequestBody):
    """A document: its text, and any further fields, which the response returns."""

    model_config = ConfigDict(extra="allow")

    text: str


class RerankRequest(RequestBody):
    """The body of `POST /v1/rerank` and `POST /v2/rerank`."""

    query: str = Field(description="The query.")
    documents: list[Annotated[str | RerankDocument, Field(union_mode="left_to_right")]] = Field(
        description="The documents: texts, or objects with a field text."
    )
    model: str | None = Field(None, description="A name from GET /v1/models, or an alias.")
    top_n: int | None = Field(None, ge=1, description="How many results to return, the best first; all by default.")
    return_documents: bool | None = Field(None, description="Whether to return the documents; false by default.")
    instruction: str | None = Field(
        None, min_length=1, description="The task, in one sentence; the model's by default."
    )
    truncate: bool | None = Field(
        None, description="Whether to cut the end of a document that is too long, the default, or to refuse it."
    )
    max_tokens_per_doc: int | None = Field(
        None, ge=1, description="Cohere's; a number below the model's own limit is not supported and refused."
    )
    max_chunks_per_doc: int | None = Field(None, ge=1, description="Cohere's, for older models; accepted and ignored.")


class RerankResult(BaseModel):
    """A document's index in the request, and its score."""

    index: int
    relevance_score: float
    document: dict[str, Any] | None = None


class RerankUsage(BaseModel):
    """The number of tokens that the model read."""

    total_tokens: int


class RerankResponse(BaseModel):
    """The response of `POST /v1/rerank` and `POST /v2/rerank`."""

    id: str
    object: str
    model: str
    results: list[RerankResult]
    usage: RerankUsage
    meta: dict[str, Any]


class RerankErrorResponse(BaseModel):
    """The body of an error response: `message` is Cohere's, `detail` Jina's."""

    id: str
    message: str
    detail: str


router = APIRouter(tags=["Cohere and Jina"])


@router.post(
    "/v1/rerank",
    summary="Rerank documents",
    openapi_extra=documented(RerankRequest),
    responses={200: {"model": RerankResponse}},
)
async def rerank_v1(request: Request) -> Response:
    """Order documents by how well they answer a query."""
    return await _rerank(request, version="1")


@router.post(
    "/v2/rerank",
    summary="Rerank documents",
    openapi_extra=documented(RerankRequest),
    responses={200: {"model": RerankResponse}},
)
async def rerank_v2(request: Request) -> Response:
    """Order documents by how well they answer a query."""
    return await _rerank(request, version="2")


async def _rerank(request: Request, *, version: str) -> Response:
    body = await body_of(request, RerankRequest)
    exchange = exchange_for(request)
    engine = engine_of(request)
    if body.max_tokens_per_doc is not None:
        info = await engine.reranker(body.model)
        if body.max_tokens_per_doc < info.max_tokens:
            raise ApiError(
                "invalid",
                f"max_tokens_per_doc below the model's {info.max_tokens} is not supported: shorten the documents",
                param="max_tokens_per_doc",
            )
    reranked = await while_connected(
        request.receive,
        engine.rerank(
            body.query,
            [document if isinstance(document, str) else document.text for document in body.documents],
            exchange=exchange,
            model=body.model,
            instruction=body.instruction,
            truncate=body.truncate is not False,
        ),
    )
    results: list[dict[str, Any]] = []
    for index in reranked.order()[: body.top_n]:
        result: dict[str, Any] = {"index": index, "relevance_score": reranked.judgements[index].score}
        if body.return_documents:
            document = body.documents[index]
            result["document"] = {"text": document} if isinstance(document, str) else document.model_dump()
        results.append(result)
    return json_response(
        {
            "id": exchange.request_id,
            "object": "list",
            "model": body.model or public_name(reranked.info),
            "results": results,
            "usage": {"total_tokens": reranked.tokens},
            "meta": {
                "api_version": {"version": version},
                "billed_units": {"search_units": 1},
                "tokens": {"input_tokens": reranked.tokens},
            },
        }
    )


def _render_error(error: ApiError, request_id: str) -> tuple[int, dict[str, Any]]:
    # Cohere answers 422 if the body is JSON and one of its fields is wrong.
    status = 422 if error.cause == "malformed" and error.param is not None else error.status
    return status, {"id": request_id, "message": error.message, "detail": error.message}


RERANK = Api(
    router=router,
    paths=("/v1/rerank", "/v2/"),
    render_error=_render_error,
    schemas=(RerankRequest, RerankDocument),
    error_schema=RerankErrorResponse,
)
