"""Hugging Face's Text Embeddings Inference: `/embed`, `/rerank`, `/similarity`, `/tokenize`, `/decode` and `/info`.

One TEI serves one model, so a client that wants both has two addresses. Here the second is `/reranker`: below it,
`/reranker/info` describes the reranker. `/rerank` and `/tokenize` are shared with other servers; the body decides.

`POST /` does what `/embed` and `/similarity` do, because `huggingface_hub.InferenceClient` uses no other path. Fields,
defaults, status codes and errors are those of TEI's OpenAPI document:
https://huggingface.github.io/text-embeddings-inference
"""

from typing import Any

from fastapi import APIRouter
from qwen3_client import ModelInfo, RerankerInfo, __version__, similarity
from starlette.requests import Request
from starlette.responses import Response

from ..api import Api, answer_as, engine_of, exchange_for
from ..body import body_of, body_of_either, documented
from ..engine import Kind
from ..errors import ApiError, Cause
from ..inputs import Truncate, empty_text
from ..json import json_response
from ..middleware.disconnect import while_connected
from .rerank import RERANK, RerankRequest, RerankResponse, reranked
from .tei_bodies import (
    DecodeRequest,
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
from .vllm import VLLM, VllmTokenizeRequest, tokenized

_EMBEDDING: dict[str, Any] = {"embedding": {"pooling": "last_token"}}
_RERANKER: dict[str, Any] = {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}}

router = APIRouter(tags=["Text Embeddings Inference"])


@router.post(
    "/embed",
    summary="Embed texts",
    openapi_extra=documented(EmbedRequest),
    responses={200: {"model": list[list[float]]}},
)
async def embed(request: Request) -> Response:
    """Embed a text or several; the response is always a list of vectors."""
    return await _embed(request, await body_of(request, EmbedRequest))


@router.post(
    "/",
    summary="Embed or compare texts",
    openapi_extra=documented(RootRequest),
    responses={200: {"model": list[list[float]] | list[float]}},
)
async def root(request: Request) -> Response:
    """Do what `/embed` does, or what `/similarity` does if the inputs are for that."""
    body = await body_of(request, RootRequest)
    is_similarity = isinstance(body.inputs, SimilarityInputs)
    for name in ("dimensions", "prompt_name", "truncate", "truncation_direction") if is_similarity else ("parameters",):
        if getattr(body, name) is not None:
            where = "into parameters" if is_similarity else "beside inputs, without parameters"
            raise ApiError("invalid", f"{name}: with such inputs, write the options {where}", param=name)
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
    """Return the cosine similarity of one text with each of several."""
    body = await body_of(request, SimilarityRequest)
    return await _similarity(request, body.inputs, body.parameters)


@router.post(
    "/reranker/rerank",
    summary="Rerank texts",
    openapi_extra=documented(TeiRerankRequest, RerankRequest),
    responses={200: {"model": list[Rank] | RerankResponse}},
)
@router.post(
    "/rerank",
    summary="Rerank texts",
    openapi_extra=documented(TeiRerankRequest, RerankRequest),
    responses={200: {"model": list[Rank] | RerankResponse}},
)
async def rerank(request: Request) -> Response:
    """Order texts by how well they answer a query, the best first; with `documents`, do what `/v1/rerank` does."""
    body = await body_of_either(request, TeiRerankRequest, RerankRequest, telling=("texts", "documents"))
    if isinstance(body, RerankRequest):
        answer_as(request, RERANK)
        return await reranked(request, body, version="1")
    return await _rerank(request, body)


@router.post(
    "/invocations",
    summary="Embed or rerank texts, as SageMaker asks for it",
    openapi_extra=documented(EmbedRequest, TeiRerankRequest),
    responses={200: {"model": list[list[float]] | list[Rank]}},
)
async def invocations(request: Request) -> Response:
    """Do what `/embed` does, or with `texts` what `/rerank` does."""
    body = await body_of_either(request, EmbedRequest, TeiRerankRequest, telling=("inputs", "texts"))
    return await (_rerank(request, body) if isinstance(body, TeiRerankRequest) else _embed(request, body))


async def _rerank(request: Request, body: TeiRerankRequest) -> Response:
    if body.truncate and _truncate(body.truncate, body.truncation_direction) == "start":
        raise ApiError(
            "invalid",
            "truncation_direction: rerank can only cut the end of a document, so it must be Right",
            param="truncation_direction",
        )
    result = await while_connected(
        request.receive,
        engine_of(request).rerank(
            body.query,
            body.texts,
            exchange=exchange_for(request),
            truncate=bool(body.truncate),
        ),
    )
    ranks = []
    for index in result.order()[: body.top_n]:
        judgement = result.judgements[index]
        rank: dict[str, Any] = {"index": index, "score": judgement.logit if body.raw_scores else judgement.score}
        ranks.append({**rank, "text": body.texts[index]} if body.return_text else rank)
    return json_response(ranks)


@router.post(
    "/tokenize",
    summary="Tokenize texts",
    openapi_extra=documented(TokenizeRequest, VllmTokenizeRequest),
    responses={200: {"model": list[list[Token]]}},
)
async def tokenize(request: Request) -> Response:
    """Return the tokens of a text or several, as a list of lists; with `prompt`, what vLLM returns."""
    body = await body_of_either(request, TokenizeRequest, VllmTokenizeRequest, telling=("inputs", "prompt"))
    if isinstance(body, VllmTokenizeRequest):
        answer_as(request, VLLM)
        return await tokenized(request, body)
    texts = [body.inputs] if isinstance(body.inputs, str) else body.inputs
    tokens = await while_connected(
        request.receive,
        engine_of(request).tokenize(texts, exchange=exchange_for(request), kind=_kind(body.prompt_name)),
    )
    if body.add_special_tokens is False:
        tokens = [row[:-1] for row in tokens]
    return json_response(tokens)


@router.post(
    "/decode",
    summary="Turn token ids into texts",
    openapi_extra=documented(DecodeRequest),
    responses={200: {"model": list[str]}},
)
async def decode(request: Request) -> Response:
    """Return the texts of token ids."""
    body = await body_of(request, DecodeRequest)
    rows: Any = [body.ids] if body.ids and isinstance(body.ids[0], int) else body.ids
    skip = body.skip_special_tokens is not False
    texts = await engine_of(request).decode(rows, exchange=exchange_for(request), skip_special_tokens=skip)
    return json_response(texts)


@router.get("/reranker/info", summary="Describe the served reranker", responses={200: {"model": Info}})
async def reranker_info(request: Request) -> Response:
    """Describe the reranker."""
    return _info(request, await engine_of(request).reranker(), _RERANKER)


@router.get("/reranker/health", summary="Liveness: whether the process runs")
async def reranker_health() -> Response:
    """Answer what `/health` answers."""
    return json_response({"status": "ok"})


@router.get("/info", summary="Describe the served model", responses={200: {"model": Info}})
async def info(request: Request) -> Response:
    """Describe the embedding model, or the reranker if there is no embedding model."""
    engine = engine_of(request)
    try:
        return _info(request, await engine.embedding_model(), _EMBEDDING)
    except ApiError:
        return _info(request, await engine.reranker(), _RERANKER)


def _info(request: Request, served: ModelInfo | RerankerInfo, model_type: dict[str, Any]) -> Response:
    settings = request.app.state.settings
    return json_response(
        {
            "model_id": served.source,
            "model_sha": served.revision or None,
            "model_dtype": served.precision,
            "model_fingerprint": served.fingerprint,
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
    inputs: Any = body.inputs
    if isinstance(inputs, str) or (inputs and isinstance(inputs[0], int)):
        inputs = [inputs]
    if len({isinstance(each, str) for each in inputs}) > 1:
        raise ApiError("invalid", "inputs: give texts or token ids, not both in one request", param="inputs")
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
        raise ApiError("empty", "sentences: the list is empty; send at least one to compare with", param="sentences")
    if not inputs.source_sentence:
        raise ApiError("empty", "source_sentence is empty", param="source_sentence")
    for index, sentence in enumerate(inputs.sentences):
        if not sentence:
            raise empty_text(index, noun="sentence")
    chosen = parameters or SimilarityParameters()
    embedded = await while_connected(
        request.receive,
        engine_of(request).embed(
            [inputs.source_sentence, *inputs.sentences],
            exchange=exchange_for(request),
            kind=_kind(chosen.prompt_name),
            truncate=_truncate(chosen.truncate, chosen.truncation_direction),
        ),
    )
    return json_response(similarity(embedded.vectors[0], embedded.vectors[1:])[0])


def _kind(prompt_name: str | None) -> Kind:
    return "query" if prompt_name == "query" else "document"


def _truncate(wanted: bool | None, direction: Direction | None) -> Truncate:  # noqa: FBT001 - the value of a field
    if not wanted:
        return False
    return "start" if direction in ("Left", "left") else "end"


# Error types and their status codes; source: `router/src/http/server.rs` of text-embeddings-inference.
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


def _render_error(error: ApiError, _request_id: str) -> tuple[int, dict[str, Any]]:
    error_type, status = _TYPES.get(error.cause, ("validation", error.status))
    return status, {"error": error.message, "error_type": error_type}


TEI = Api(
    router=router,
    paths=("/", "/embed", "/rerank", "/similarity", "/tokenize", "/decode", "/info", "/invocations", "/reranker/"),
    render_error=_render_error,
    schemas=(
        DecodeRequest,
        EmbedRequest,
        RootRequest,
        SimilarityRequest,
        TeiRerankRequest,
        TokenizeRequest,
    ),
    error_schema=TeiErrorResponse,
)
