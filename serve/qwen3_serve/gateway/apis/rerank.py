"""The rerank API of Cohere and Jina: `POST /v1/rerank` and `POST /v2/rerank`.

The two companies' requests differ in nothing that matters, and their answers in nothing that clashes: an answer holds
the fields of both.
"""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from ..api import Api, engine_of, exchange_for
from ..body import RequestBody, body_of, documented
from ..errors import Failure
from ..json import json_response
from ..middleware.disconnect import while_connected
from ..names import public_name

__all__ = ["RERANK"]


class RerankDocument(RequestBody):
    """A document with its text, and whatever else, which comes back with it."""

    model_config = ConfigDict(extra="allow")

    text: str


class RerankRequest(RequestBody):
    """The body of `POST /v1/rerank` and `POST /v2/rerank`."""

    query: str = Field(description="What is looked for.")
    documents: list[Annotated[str | RerankDocument, Field(union_mode="left_to_right")]] = Field(
        description="Where it is looked for: texts, or objects with a text."
    )
    model: str | None = Field(None, description="As listed by GET /v1/models, or an alias.")
    top_n: int | None = Field(None, ge=1, description="How many results to return, the best; by default all.")
    return_documents: bool | None = Field(None, description="Whether to return the documents; by default not.")
    instruction: str | None = Field(
        None, min_length=1, description="The task, in one sentence; by default the model's."
    )
    truncate: bool | None = Field(
        None, description="Whether a document that is too long loses its end, as by default, or is refused."
    )
    max_tokens_per_doc: int | None = Field(
        None, ge=1, description="Cohere's; only the model's own length can be had, so a smaller number is refused."
    )
    max_chunks_per_doc: int | None = Field(None, ge=1, description="Cohere's, for older models; taken, not used.")


class RerankResult(BaseModel):
    """A document's place."""

    index: int
    relevance_score: float
    document: dict[str, Any] | None = None


class RerankUsage(BaseModel):
    """How many tokens the model read."""

    total_tokens: int


class RerankResponse(BaseModel):
    """The answer."""

    id: str
    object: str
    model: str
    results: list[RerankResult]
    usage: RerankUsage
    meta: dict[str, Any]


class RerankErrorResponse(BaseModel):
    """The body of a failure: `message` is Cohere's, `detail` Jina's."""

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
    """Puts documents in order of how well they meet a query."""
    return await _rerank(request, version="1")


@router.post(
    "/v2/rerank",
    summary="Rerank documents",
    openapi_extra=documented(RerankRequest),
    responses={200: {"model": RerankResponse}},
)
async def rerank_v2(request: Request) -> Response:
    """Puts documents in order of how well they meet a query."""
    return await _rerank(request, version="2")


async def _rerank(request: Request, *, version: str) -> Response:
    body = await body_of(request, RerankRequest)
    exchange = exchange_for(request)
    engine = engine_of(request)
    if body.max_tokens_per_doc is not None:
        info = await engine.reranker(body.model)
        if body.max_tokens_per_doc < info.max_tokens:
            raise Failure(
                "invalid",
                f"max_tokens_per_doc below the model's {info.max_tokens} is not supported: shorten the documents",
                param="max_tokens_per_doc",
            )
    judged = await while_connected(
        request.receive,
        engine.judge(
            body.query,
            [document if isinstance(document, str) else document.text for document in body.documents],
            exchange=exchange,
            model=body.model,
            instruction=body.instruction,
            truncate=body.truncate is not False,
        ),
    )
    results: list[dict[str, Any]] = []
    for index in judged.order()[: body.top_n]:
        result: dict[str, Any] = {"index": index, "relevance_score": judged.judgements[index].score}
        if body.return_documents:
            document = body.documents[index]
            result["document"] = {"text": document} if isinstance(document, str) else document.model_dump()
        results.append(result)
    return json_response(
        {
            "id": exchange.request_id,
            "object": "list",
            "model": body.model or public_name(judged.info),
            "results": results,
            "usage": {"total_tokens": judged.tokens},
            "meta": {
                "api_version": {"version": version},
                "billed_units": {"search_units": 1},
                "tokens": {"input_tokens": judged.tokens},
            },
        }
    )


def _render_error(failure: Failure, request_id: str) -> tuple[int, dict[str, Any]]:
    # Cohere answers 422 where a body is JSON but not of the form.
    status = 422 if failure.cause == "malformed" and failure.param is not None else failure.status
    return status, {"id": request_id, "message": failure.message, "detail": failure.message}


RERANK = Api(
    router=router,
    paths=("/v1/rerank", "/v2/"),
    render_error=_render_error,
    schemas=(RerankRequest, RerankDocument),
    failure_schema=RerankErrorResponse,
)
