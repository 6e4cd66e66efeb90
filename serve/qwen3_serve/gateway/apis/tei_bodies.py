"""The requests and responses of Text Embeddings Inference, as its OpenAPI document defines them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from ..body import RequestBody
from ..known_fields import EMBEDDING, RERANKING, TOKENIZING
from .options import Texts, TokenIdLists, TokenIds

Item = Annotated[str | TokenIds, Field(union_mode="left_to_right")]
Items = Annotated[list[Item], Field(fail_fast=True)]
Direction = Literal["Left", "Right", "left", "right"]
Prompt = Annotated[
    Literal["query", "document"] | None,
    Field(description="query puts the instruction for queries before the texts; none by default."),
]


class EmbedRequest(RequestBody):
    """The body of `POST /embed`."""

    changing = EMBEDDING
    harmless = frozenset({"normalize"})

    inputs: Annotated[
        str | TokenIds | Items,
        Field(union_mode="left_to_right", description="A text or its token ids, or a list of these."),
    ]
    prompt_name: Prompt = None
    truncate: bool | None = Field(None, description="Whether to cut texts that are too long; false by default.")
    truncation_direction: Direction | None = Field(None, description="Which end of a text to cut; Right by default.")
    dimensions: int | None = Field(None, ge=1, description="Length of the vectors; the model's by default.")


class SimilarityInputs(RequestBody):
    """A text and the texts to compare it with."""

    changing = EMBEDDING

    source_sentence: str
    sentences: Texts


class SimilarityParameters(RequestBody):
    """How to embed the texts."""

    changing = EMBEDDING

    prompt_name: Prompt = None
    truncate: bool | None = None
    truncation_direction: Direction | None = None


class SimilarityRequest(RequestBody):
    """The body of `POST /similarity`."""

    changing = EMBEDDING

    inputs: SimilarityInputs
    parameters: SimilarityParameters | None = None


class RootRequest(EmbedRequest):
    """The body of `POST /`: that of `/embed` or that of `/similarity`."""

    inputs: Annotated[  # type: ignore[assignment]
        str | TokenIds | Items | SimilarityInputs, Field(union_mode="left_to_right")
    ]
    parameters: SimilarityParameters | None = None


class TeiRerankRequest(RequestBody):
    """The body of `POST /rerank` with texts."""

    changing = RERANKING

    query: str
    texts: Texts
    raw_scores: bool | None = Field(None, description="Whether to return logits instead of scores from 0 to 1.")
    top_n: int | None = Field(None, ge=1, description="How many results to return; not in TEI, but litellm sends it.")
    return_text: bool | None = None
    truncate: bool | None = Field(None, description="Whether to cut texts that are too long; false by default.")
    truncation_direction: Direction | None = None


class TokenizeRequest(RequestBody):
    """The body of `POST /tokenize` with inputs."""

    changing = TOKENIZING

    inputs: Annotated[str | Texts, Field(union_mode="left_to_right")]
    add_special_tokens: bool | None = Field(
        None, description="Whether to include the end-of-text token; true by default."
    )
    prompt_name: Prompt = None


class DecodeRequest(RequestBody):
    """The body of `POST /decode`."""

    changing = TOKENIZING

    ids: Annotated[TokenIds | TokenIdLists, Field(union_mode="left_to_right")]
    skip_special_tokens: bool | None = Field(None, description="Whether to leave out special tokens; true by default.")


class Rank(BaseModel):
    """A text's index in the request, and its score."""

    index: int
    score: float
    text: str | None = None


class Token(BaseModel):
    """One token; `start` and `stop` are character offsets into the text."""

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


class Info(BaseModel):
    """The served model and the gateway's limits."""

    model_id: str
    model_sha: str | None
    model_dtype: str
    model_fingerprint: str | None
    model_type: dict[str, Any]
    max_concurrent_requests: int
    max_input_length: int
    max_batch_tokens: int
    max_batch_requests: int | None
    max_client_batch_size: int
    auto_truncate: bool
    tokenization_workers: int
    version: str
    sha: str | None
    docker_label: str | None


class TeiErrorResponse(BaseModel):
    """The body of an error response."""

    error: str
    error_type: str
