"""What NVIDIA NIM's clients ask for beside `/v1/embeddings`: ranking, health and metadata.

https://docs.nvidia.com/nim/nemo-retriever/reranking/latest/reference.html. `/v1/retrieval/{model}/reranking` is the
path of NVIDIA's hosted models, which LiteLLM uses for all.
"""

from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter
from pydantic import BaseModel, Field
from qwen3_client import __version__
from starlette.requests import Request
from starlette.responses import Response

from ..api import Api, engine_of, exchange_for
from ..body import RequestBody, body_of, documented
from ..errors import ApiError
from ..json import json_response
from ..known_fields import RERANKING, TEXT
from ..middleware.disconnect import while_connected
from ..names import public_name
from ..readiness import Readiness
from .openai import render_openai_error
from .openai_bodies import OpenAIErrorResponse


class NimText(RequestBody):
    """A query or a passage."""

    changing = TEXT

    text: str


class NimRankingRequest(RequestBody):
    """The body of `POST /v1/ranking`."""

    changing = RERANKING

    query: NimText
    passages: Annotated[list[NimText], Field(fail_fast=True)]
    model: str | None = Field(None, description="A name from GET /v1/models, or an alias.")
    truncate: Literal["NONE", "END"] | None = Field(
        None, description="END cuts a passage that is too long; NONE, the default, refuses it."
    )
    top_k: int | None = Field(None, ge=1, description="How many passages to return, the best first; all by default.")


class NimRanking(BaseModel):
    """A passage's index in the request, and its logit."""

    index: int
    logit: float


class NimRankingResponse(BaseModel):
    """The passages, the best first."""

    rankings: list[NimRanking]
    usage: dict[str, int]


class NimHealth(BaseModel):
    """Whether the service is live, or ready."""

    object: Literal["health.response"]
    message: str
    status: str


router = APIRouter(tags=["NVIDIA NIM"])


@router.post(
    "/v1/ranking",
    summary="Rank passages",
    openapi_extra=documented(NimRankingRequest),
    responses={200: {"model": NimRankingResponse}},
)
async def ranking(request: Request) -> Response:
    """Order passages by how well they answer a query."""
    return await _rank(request, await body_of(request, NimRankingRequest))


@router.post(
    "/v1/retrieval/{model:path}/reranking",
    summary="Rank passages",
    openapi_extra=documented(NimRankingRequest),
    responses={200: {"model": NimRankingResponse}},
)
async def reranking(request: Request, model: str) -> Response:
    """Do what `/v1/ranking` does; the path names the model if the body does not."""
    body = await body_of(request, NimRankingRequest)
    return await _rank(request, body.model_copy(update={"model": body.model or model}))


@router.get("/v1/health/live", summary="Liveness, as NIM answers", responses={200: {"model": NimHealth}})
async def live() -> Response:
    """Answer as long as the process works."""
    return json_response({"object": "health.response", "message": "Service is live.", "status": "live"})


@router.get("/v1/health/ready", summary="Readiness, as NIM answers", responses={503: {"model": NimHealth}})
async def ready(request: Request) -> Response:
    """Answer what `/ready` answers."""
    is_ready = await cast(Readiness, request.app.state.readiness).is_ready()
    status = "ready" if is_ready else "not ready"
    content = {"object": "health.response", "message": f"Service is {status}.", "status": status}
    return json_response(content, status=200 if is_ready else 503)


@router.get("/v1/metadata", summary="Describe the served models, as NIM answers")
async def metadata(request: Request) -> Response:
    """Name the served models and the version."""
    engine = engine_of(request)
    found = []
    for ask in (engine.embedding_model, engine.reranker):
        try:
            info = await ask()
        except ApiError:  # one of the two may be missing
            continue
        found.append({"modelUrl": public_name(info), "shortName": public_name(info)})
    return json_response(
        {
            "assetInfo": [each["modelUrl"] for each in found],
            "licenseInfo": {},
            "modelInfo": found,
            "repository_override": "",
            "version": __version__,
        }
    )


async def _rank(request: Request, body: NimRankingRequest) -> Response:
    result = await while_connected(
        request.receive,
        engine_of(request).rerank(
            body.query.text,
            [passage.text for passage in body.passages],
            exchange=exchange_for(request),
            model=body.model,
            truncate=body.truncate == "END",
        ),
    )
    rankings: list[dict[str, Any]] = [
        {"index": index, "logit": result.judgements[index].logit} for index in result.order()[: body.top_k]
    ]
    usage = {"prompt_tokens": result.tokens, "total_tokens": result.tokens}
    return json_response({"rankings": rankings, "usage": usage})


NIM = Api(
    router=router,
    paths=("/v1/ranking", "/v1/retrieval/", "/v1/health/", "/v1/metadata"),
    render_error=render_openai_error,
    schemas=(NimRankingRequest, NimText),
    error_schema=OpenAIErrorResponse,
)
