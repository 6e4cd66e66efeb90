"""Hugging Face's Text Embeddings Inference: `/embed`, `/rerank`, `/similarity`, `/tokenize` and `/info`.

`POST /` does what `/embed` and `/similarity` do, as there: `huggingface_hub.InferenceClient` is given no other path.
Fields, defaults, status codes and errors are those of its OpenAPI document:
https://huggingface.github.io/text-embeddings-inference
"""

from typing import Any

from fastapi import APIRouter
from qwen3_client import __version__, similarity
from starlette.requests import Request
from starlette.responses import Response

from ..api import Api, engine_of, exchange_for
from ..body import body_of, documented
from ..engine import Kind
from ..errors import Cause, Failure
from ..inputs import Truncate
from ..json import json_response
from ..middleware.disconnect import while_connected
from .tei_bodies import (
    Direction,
    EmbedRequest,
    Info,
    Rank,
    RootRequest,
    SimilarityInputs,
    SimilarityParameters,
    SimilarityRequest,
    TeiErrorResponse,
    TeiRerankRequest,
    Token,
    TokenizeRequest,
)

__all__ = ["TEI"]

router = APIRouter(tags=["Text Embeddings Inference"])


@router.post(
    "/embed",
    summary="Embed texts",
    openapi_extra=documented(EmbedRequest),
    responses={200: {"model": list[list[float]]}},
)
async def embed(request: Request) -> Response:
    """Embeds a text or texts; always a list of vectors."""
    return await _embed(request, await body_of(request, EmbedRequest))


@router.post(
    "/",
    summary="Embed or compare texts",
    openapi_extra=documented(RootRequest),
    responses={200: {"model": list[list[float]] | list[float]}},
)
async def root(request: Request) -> Response:
    """Does what `/embed` does, or what `/similarity` does where the inputs are such."""
    body = await body_of(request, RootRequest)
    if isinstance(body.inputs, SimilarityInputs):
        return await _similarity(request, body.inputs, body.parameters)
    return await _embed(request, body)


@router.post(
    "/similarity",
    summary="Compare texts",
    openapi_extra=documented(SimilarityRequest),
    responses={200: {"model": list[float]}},
)
async def similarities(request: Request) -> Response:
    """Returns the cosine of one text with each of several."""
    body = await body_of(request, SimilarityRequest)
    return await _similarity(request, body.inputs, body.parameters)


@router.post(
    "/rerank",
    summary="Rerank texts",
    openapi_extra=documented(TeiRerankRequest),
    responses={200: {"model": list[Rank]}},
)
async def rerank(request: Request) -> Response:
    """Puts texts in order of how well they meet a query, the best first."""
    body = await body_of(request, TeiRerankRequest)
    if body.truncate and _truncate(body.truncate, body.truncation_direction) == "start":
        raise Failure(
            "invalid",
            "truncation_direction: a pair loses its document's end, not its beginning",
            param="truncation_direction",
        )
    judged = await while_connected(
        request.receive,
        engine_of(request).judge(
            body.query,
            body.texts,
            exchange=exchange_for(request),
            truncate=bool(body.truncate),
        ),
    )
    ranks = []
    for index in judged.order():
        judgement = judged.judgements[index]
        rank: dict[str, Any] = {"index": index, "score": judgement.logit if body.raw_scores else judgement.score}
        ranks.append({**rank, "text": body.texts[index]} if body.return_text else rank)
    return json_response(ranks)


@router.post(
    "/tokenize",
    summary="Tokenize texts",
    openapi_extra=documented(TokenizeRequest),
    responses={200: {"model": list[list[Token]]}},
)
async def tokenize(request: Request) -> Response:
    """Returns the tokens of a text or texts; always a list of lists."""
    body = await body_of(request, TokenizeRequest)
    texts = [body.inputs] if isinstance(body.inputs, str) else body.inputs
    tokens = await while_connected(
        request.receive,
        engine_of(request).spell(texts, exchange=exchange_for(request), kind=_kind(body.prompt_name)),
    )
    if not body.add_special_tokens:
        tokens = [row[:-1] for row in tokens]
    return json_response(tokens)


@router.get("/info", summary="Say what serves", responses={200: {"model": Info}})
async def info(request: Request) -> Response:
    """Describes the embedding model, or where there is none the reranker."""
    engine = engine_of(request)
    try:
        served = await engine.embedding_model()
        model_type: dict[str, Any] = {"embedding": {"pooling": "last_token"}}
    except Failure:
        served = await engine.reranker()  # type: ignore[assignment]
        model_type = {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}}
    settings = request.app.state.settings
    return json_response(
        {
            "model_id": served.source,
            "model_sha": served.revision or None,
            "model_dtype": served.precision,
            "model_type": model_type,
            "max_concurrent_requests": settings.max_requests,
            "max_input_length": served.max_tokens,
            "max_batch_tokens": settings.max_request_tokens,
            "max_batch_requests": None,
            "max_client_batch_size": settings.max_items,
            "auto_truncate": False,
            "tokenization_workers": 1,
            "version": __version__,
            "sha": None,
            "docker_label": None,
        }
    )


async def _embed(request: Request, body: EmbedRequest) -> Response:
    if body.normalize is False:
        raise Failure(
            "invalid", "normalize: the model's vectors have norm 1; false is not to be had", param="normalize"
        )
    inputs: Any = body.inputs
    if isinstance(inputs, str) or (inputs and isinstance(inputs[0], int)):
        inputs = [inputs]
    if inputs and isinstance(inputs[0], str) != all(isinstance(each, str) for each in inputs):
        raise Failure("invalid", "inputs: give texts or token ids, not both in one request", param="inputs")
    embedded = await while_connected(
        request.receive,
        engine_of(request).embed(
            inputs,
            exchange=exchange_for(request),
            kind=_kind(body.prompt_name),
            dimensions=body.dimensions,
            truncate=_truncate(body.truncate, body.truncation_direction),
        ),
    )
    return json_response(embedded.vectors)


async def _similarity(request: Request, inputs: SimilarityInputs, parameters: SimilarityParameters | None) -> Response:
    if not inputs.sentences:
        raise Failure("empty", "sentences: there are none to compare with", param="sentences")
    how = parameters or SimilarityParameters()
    embedded = await while_connected(
        request.receive,
        engine_of(request).embed(
            [inputs.source_sentence, *inputs.sentences],
            exchange=exchange_for(request),
            kind=_kind(how.prompt_name),
            truncate=_truncate(how.truncate, how.truncation_direction),
        ),
    )
    return json_response(similarity(embedded.vectors[0], embedded.vectors[1:])[0])


def _kind(prompt_name: str | None) -> Kind:
    return "query" if prompt_name == "query" else "document"


def _truncate(wanted: bool | None, direction: Direction) -> Truncate:  # noqa: FBT001 - the field's own value
    if not wanted:
        return False
    return "start" if direction.lower() == "left" else "end"


# `router/src/http/server.rs` of text-embeddings-inference: which type of error has which status.
_TYPES: dict[Cause, tuple[str, int]] = {
    "malformed": ("validation", 422),
    "invalid": ("validation", 422),
    "empty": ("empty", 400),
    "too_long": ("validation", 413),
    "too_many": ("validation", 413),
    "too_large": ("validation", 413),
    "no_model": ("backend", 424),
    "overloaded": ("overloaded", 429),
    "unavailable": ("unhealthy", 503),
    "timeout": ("backend", 504),
    "internal": ("backend", 500),
}


def _render_error(failure: Failure, _request_id: str) -> tuple[int, dict[str, Any]]:
    kind, status = _TYPES.get(failure.cause, ("validation", failure.status))
    return status, {"error": failure.message, "error_type": kind}


TEI = Api(
    router=router,
    paths=("/", "/embed", "/rerank", "/similarity", "/tokenize", "/info"),
    render_error=_render_error,
    schemas=(
        EmbedRequest,
        RootRequest,
        SimilarityRequest,
        TeiRerankRequest,
        TokenizeRequest,
    ),
    failure_schema=TeiErrorResponse,
)
