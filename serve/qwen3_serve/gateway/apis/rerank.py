"""The rerank API of Cohere, Jina, vLLM, Voyage and Infinity: `POST /v1/rerank`, `POST /v2/rerank` and `POST /rerank`.

Their requests do not differ in the fields that are used here, and the fields of their responses do not conflict, so
each response has the fields of all. The exception is a returned document: Infinity's is a string, the others' is an
object. `raw_scores`, which Infinity's clients always send and the others' never do, tells them apart. Voyage's clients
read the results from `data`, where documents are strings, and their requests may be like any other; so the response has
`data` too, unless the request has what Voyage's API does not: `top_n`, `raw_scores`, or the path `/v2/rerank`.

`POST /rerank` is TEI's too, whose requests have `texts`; `tei` decides by the body.
"""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from ..api import Api, engine_of, exchange_for
from ..body import RequestBody, body_of, documented
from ..errors import ApiError
from ..json import json_response
from ..known_fields import RERANKING
from ..middleware.disconnect import while_connected
from ..names import public_name
from .options import one_of


class RerankDocument(RequestBody):
    """A document: its text, and any further fields, which the response returns."""

    text: str


class RerankRequest(RequestBody):
    """The body of `POST /v1/rerank` and `POST /v2/rerank`, and of `POST /rerank` with documents."""

    changing = RERANKING
    harmless = frozenset({"max_chunks_per_doc", "overlap_tokens", "priority", "request_id", "user"})

    query: str = Field(description="The query.")
    documents: list[Annotated[str | RerankDocument, Field(union_mode="left_to_right")]] = Field(
        description="The documents: texts, or objects with a field text."
    )
    model: str | None = Field(None, description="A name from GET /v1/models, or an alias.")
    top_n: int | None = Field(None, ge=1, description="How many results to return, the best first; all by default.")
    top_k: int | None = Field(None, ge=1, description="Voyage's name of top_n.")
    return_documents: bool | None = Field(None, description="Whether to return the documents; false by default.")
    instruction: str | None = Field(
        None, min_length=1, description="The task, in one sentence; the model's by default."
    )
    truncate: bool | None = Field(
        None, description="Whether to cut the end of a document that is too long, the default, or to refuse it."
    )
    truncation: bool | None = Field(None, description="Voyage's name of truncate.")
    raw_scores: bool | None = Field(
        None,
        description="Infinity's: whether to return logits instead of scores from 0 to 1. With this field, returned "
        "documents are strings.",
    )
    max_tokens_per_doc: int | None = Field(
        None, ge=1, description="Cohere's; a number below the model's own limit is not supported and refused."
    )


class RerankResult(BaseModel):
    """A document's index in the request, and its score."""

    index: int
    relevance_score: float
    document: dict[str, Any] | str | None = None


class RerankUsage(BaseModel):
    """The number of tokens that the model read."""

    prompt_tokens: int
    total_tokens: int


class RerankResponse(BaseModel):
    """The response of `POST /v1/rerank` and `POST /v2/rerank`."""

    id: str
    object: str
    model: str
    results: list[RerankResult]
    data: list[RerankResult] | None = None
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
    return await reranked(request, await body_of(request, RerankRequest), version="1")


@router.post(
    "/v2/rerank",
    summary="Rerank documents",
    openapi_extra=documented(RerankRequest),
    responses={200: {"model": RerankResponse}},
)
async def rerank_v2(request: Request) -> Response:
    """Order documents by how well they answer a query."""
    return await reranked(request, await body_of(request, RerankRequest), version="2")


async def reranked(request: Request, body: RerankRequest, *, version: str) -> Response:
    """Answer a request for which the body has been read; `version` is that of Cohere's API."""
    top_n = one_of(body, "top_n", "top_k")
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
    result = await while_connected(
        request.receive,
        engine.rerank(
            body.query,
            [document if isinstance(document, str) else document.text for document in body.documents],
            exchange=exchange,
            model=body.model,
            instruction=body.instruction,
            truncate=one_of(body, "truncate", "truncation") is not False,
        ),
    )
    hits: list[dict[str, Any]] = []
    for index in result.order()[:top_n]:
        judgement = result.judgements[index]
        hits.append({"index": index, "relevance_score": judgement.logit if body.raw_scores else judgement.score})
    may_be_voyages = version == "1" and body.top_n is None and body.raw_scores is None
    return json_response(
        {
            "id": exchange.request_id,
            "object": "list" if body.raw_scores is None else "rerank",
            "model": body.model or public_name(result.info),
            "results": _with_documents(hits, body, as_strings=body.raw_scores is not None),
            **({"data": _with_documents(hits, body, as_strings=True)} if may_be_voyages else {}),
            "usage": {"prompt_tokens": result.tokens, "total_tokens": result.tokens},
            "meta": {
                "api_version": {"version": version},
                "billed_units": {"search_units": 1},
                "tokens": {"input_tokens": result.tokens},
                **({"warnings": warnings} if (warnings := exchange.warnings()) else {}),
            },
        }
    )


def _with_documents(hits: list[dict[str, Any]], body: RerankRequest, *, as_strings: bool) -> list[dict[str, Any]]:
    """Return results with their documents, if the request asks for these."""
    if not body.return_documents:
        return hits
    found = []
    for hit in hits:
        document = body.documents[hit["index"]]
        text, fields = (
            (document, {"text": document}) if isinstance(document, str) else (document.text, document.model_dump())
        )
        found.append({**hit, "document": text if as_strings else fields})
    return found


def render_cohere_error(error: ApiError, request_id: str) -> tuple[int, dict[str, Any]]:
    """Return the status and the JSON of an error, as Cohere's clients and Jina's read it."""
    # Cohere answers 422 if the body is JSON and one of its fields is wrong.
    status = 422 if error.cause == "malformed" and error.param is not None else error.status
    return status, {"id": request_id, "message": error.message, "detail": error.message}


RERANK = Api(
    router=router,
    paths=("/v1/rerank", "/v2/rerank"),
    render_error=render_cohere_error,
    schemas=(RerankRequest, RerankDocument),
    error_schema=RerankErrorResponse,
)
