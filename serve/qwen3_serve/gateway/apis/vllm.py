"""What vLLM's clients ask for beside OpenAI's API: score, pooling, detokenize, version and ping.

https://docs.vllm.ai/en/stable/serving/openai_compatible_server. `/tokenize` and `/rerank` are TEI's too: see `tei`.
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from qwen3_client import __version__
from starlette.requests import Request
from starlette.responses import Response

from ..api import Api, engine_of, exchange_for
from ..body import RequestBody, body_of, documented
from ..errors import ApiError
from ..inputs import empty_text
from ..json import base64_rows, json_response
from ..known_fields import EMBEDDING, RERANKING, TOKENIZING
from ..middleware.disconnect import while_connected
from ..names import public_name
from .openai import render_openai_error
from .openai_bodies import OpenAIErrorResponse
from .options import Texts, TokenIdLists, TokenIds, one_of

_OneOrMore = Annotated[str | Texts | None, Field(union_mode="left_to_right")]


class ScoreRequest(RequestBody):
    """The body of `POST /score`."""

    changing = RERANKING
    harmless = frozenset({"priority", "request_id", "user"})

    text_1: _OneOrMore = None
    text_2: _OneOrMore = None
    queries: _OneOrMore = Field(None, description="Another name of text_1.")
    documents: _OneOrMore = Field(None, description="Another name of text_2.")
    model: str | None = Field(None, description="A name from GET /v1/models, or an alias.")
    truncate_prompt_tokens: Literal[-1] | None = Field(None, description="-1 cuts documents that are too long.")
    instruction: str | None = Field(
        None, min_length=1, description="The task, in one sentence; the model's by default."
    )


class PoolingRequest(RequestBody):
    """The body of `POST /pooling`."""

    changing = EMBEDDING
    harmless = frozenset({"normalize", "priority", "request_id", "use_activation", "user"})

    input: Annotated[str | Texts | TokenIds | TokenIdLists, Field(union_mode="left_to_right")]
    model: str | None = Field(None, description="A name from GET /v1/models, or an alias.")
    task: Literal["embed"] | None = Field(None, description="Only vectors of whole texts are given.")
    dimensions: int | None = Field(None, ge=1, description="Length of the vectors; the model's by default.")
    encoding_format: Literal["float", "base64"] | None = None
    truncate_prompt_tokens: int | None = Field(
        None, ge=-1, description="Cut texts to so many tokens; -1 for the model's limit."
    )


class DetokenizeRequest(RequestBody):
    """The body of `POST /detokenize`."""

    changing = TOKENIZING

    tokens: TokenIds
    model: str | None = Field(None, description="A name from GET /v1/models, or an alias.")


class VllmTokenizeRequest(RequestBody):
    """The body of `POST /tokenize` with a prompt."""

    changing = TOKENIZING

    prompt: str
    model: str | None = Field(None, description="A name from GET /v1/models, or an alias.")
    add_special_tokens: bool | None = Field(
        None, description="Whether to include the end-of-text token; true by default."
    )
    return_token_strs: bool | None = None


class Score(BaseModel):
    """The score of one pair."""

    index: int
    object: Literal["score"]
    score: float


class ScoreResponse(BaseModel):
    """The scores in the order of the pairs."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[Score]
    usage: dict[str, int]


router = APIRouter(tags=["vLLM"])


@router.post(
    "/v1/score",
    summary="Score pairs",
    openapi_extra=documented(ScoreRequest),
    responses={200: {"model": ScoreResponse}},
)
@router.post(
    "/score",
    summary="Score pairs",
    openapi_extra=documented(ScoreRequest),
    responses={200: {"model": ScoreResponse}},
)
async def score(request: Request) -> Response:
    """Score one query with each of several documents, or each query with its own document."""
    body = await body_of(request, ScoreRequest)
    queries, documents = _side(body, "text_1", "queries"), _side(body, "text_2", "documents")
    if len(queries) not in (1, len(documents)):
        raise ApiError(
            "invalid",
            f"{len(queries)} queries and {len(documents)} documents make no pairs: give one query, or one for "
            "each document",
            param="text_1",
        )
    if len(queries) > 1 and "" in queries:
        raise empty_text(queries.index(""), noun="query")
    exchange = exchange_for(request)
    result = await while_connected(
        request.receive,
        engine_of(request).rerank(
            queries[0] if len(queries) == 1 else queries,
            documents,
            exchange=exchange,
            model=body.model,
            instruction=body.instruction,
            truncate=body.truncate_prompt_tokens is not None,
        ),
    )
    return json_response(
        {
            "id": exchange.request_id,
            "object": "list",
            "created": 0,
            "model": body.model or public_name(result.info),
            "data": [
                {"index": i, "object": "score", "score": judgement.score}
                for i, judgement in enumerate(result.judgements)
            ],
            "usage": {"prompt_tokens": result.tokens, "total_tokens": result.tokens},
        }
    )


@router.post("/pooling", summary="Embed texts", openapi_extra=documented(PoolingRequest))
async def pooling(request: Request) -> Response:
    """Embed texts; the response calls a vector `data`."""
    body = await body_of(request, PoolingRequest)
    exchange, max_tokens = exchange_for(request), body.truncate_prompt_tokens
    if max_tokens == 0:
        raise ApiError("invalid", "truncate_prompt_tokens: no token would be left", param="truncate_prompt_tokens")
    inputs: Any = body.input
    if isinstance(inputs, str) or (inputs and isinstance(inputs[0], int)):
        inputs = [inputs]
    embedded = await while_connected(
        request.receive,
        engine_of(request).embed(
            inputs,
            exchange=exchange,
            model=body.model,
            dimensions=body.dimensions,
            truncate=False if max_tokens is None else "end",
            max_tokens=None if max_tokens == -1 else max_tokens,
        ),
    )
    rows = base64_rows(embedded.vectors) if body.encoding_format == "base64" else embedded.vectors
    return json_response(
        {
            "id": exchange.request_id,
            "object": "list",
            "created": 0,
            "model": body.model or public_name(embedded.info),
            "data": [{"index": i, "object": "pooling", "data": row} for i, row in enumerate(rows)],
            "usage": {"prompt_tokens": embedded.tokens, "total_tokens": embedded.tokens},
        }
    )


@router.post("/detokenize", summary="Turn token ids into text", openapi_extra=documented(DetokenizeRequest))
async def detokenize(request: Request) -> Response:
    """Return the text of token ids."""
    body = await body_of(request, DetokenizeRequest)
    (prompt,) = await engine_of(request).decode(
        [body.tokens], exchange=exchange_for(request), model=body.model, skip_special_tokens=False
    )
    return json_response({"prompt": prompt})


@router.get("/version", summary="Return the version")
async def version() -> Response:
    """Return the version of qwen3-triton."""
    return json_response({"version": __version__})


@router.get("/ping", summary="Liveness, as SageMaker asks for it")
@router.post("/ping", summary="Liveness, as SageMaker asks for it")
async def ping() -> Response:
    """Answer as long as the process works."""
    return json_response({"status": "ok"})


async def tokenized(request: Request, body: VllmTokenizeRequest) -> Response:
    """Answer a request for `/tokenize` for which the body has been read."""
    engine = engine_of(request)
    info = await engine.embedding_model(body.model)
    (row,) = await while_connected(
        request.receive, engine.tokenize([body.prompt], exchange=exchange_for(request), kind="document")
    )
    tokens = row[:-1] if body.add_special_tokens is False else row
    return json_response(
        {
            "count": len(tokens),
            "max_model_len": info.max_tokens,
            "tokens": [token["id"] for token in tokens],
            "token_strs": [token["text"] for token in tokens] if body.return_token_strs else None,
        }
    )


def _side(body: ScoreRequest, *names: str) -> list[str]:
    given: str | list[str] | None = one_of(body, *names)
    if given is None:
        raise ApiError("malformed", f"{names[0]}: a text or a list of texts is required", param=names[0])
    return [given] if isinstance(given, str) else given


VLLM = Api(
    router=router,
    paths=("/score", "/v1/score", "/pooling", "/detokenize", "/version", "/ping"),
    render_error=render_openai_error,
    schemas=(ScoreRequest, PoolingRequest, DetokenizeRequest, VllmTokenizeRequest),
    error_schema=OpenAIErrorResponse,
)
