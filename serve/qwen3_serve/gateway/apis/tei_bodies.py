"""The requests and responses of Text Embeddings Inference, as its OpenAPI document defines them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from ..body import RequestBody

_MAX_ID = 2**31 - 1

TokenId = Annotated[int, Field(ge=0, le=_MAX_ID)]
TokenIds = Annotated[list[TokenId], Field(fail_fast=True)]
Item = Annotated[str | TokenIds, Field(union_mode="left_to_right")]
Items = Annotated[list[Item], Field(fail_fast=True)]
Texts = Annotated[list[str], Field(fail_fast=True)]
Direction = Literal["Left", "Right", "left", "right"]
Prompt = Annotated[
    Literal["query", "document"] | None,
    Field(description="query puts the instruction for queries before the texts; none by default."),
]


class EmbedRequest(RequestBody):
    """The body of `POST /embed`."""

    inputs: Annotated[
        str | TokenIds | Items,
        Field(union_mode="left_to_right", description="A text or its token ids, or a list of these."),
    ]
    normalize: bool | None = Field(None, description="Vectors always have norm 1; false is refused.")
    prompt_name: Prompt = None
    truncate: bool | None = Field(None, description="Whether to cut texts that are too long; false by default.")
    truncation_direction: Direction = Field("Right", description="Which end of a text to cut.")
    dimensions: int | None = Field(None, ge=1, description="Length of the vectors; the model's by default.")


class SimilarityInputs(RequestBody):
    """A text and the texts to compare it with."""

    source_sentence: str
    sentences: Texts


class SimilarityParameters(RequestBody):
    """How to embed the texts."""

    prompt_name: Prompt = None
    truncate: bool | None = None
    truncation_direction: Direction = "Right"


class SimilarityRequest(RequestBody):
    """The body of `POST /similarity`."""

    inputs: SimilarityInputs
    parameters: SimilarityParameters | None = None


class RootRequest(EmbedRequest):
    """The body of `POST /`: that of `/embed` or that of `/similarity`."""

    inputs: Annotated[  # type: ignore[assignment]
        str | TokenIds | Items | SimilarityInputs, Field(union_mode="left_to_right")
    ]
    parameters: SimilarityParameters | None = None


class TeiRerankRequest(RequestBody):
    """The body of `POST /rerank`."""

    query: str
    texts: Texts
    raw_scores: bool = Field(default=False, description="Whether to return logits instead of scores from 0 to 1.")
    return_text: bool = False
    truncate: bool | None = Field(None, description="Whether to cut texts that are too long; false by default.")
    truncation_direction: Direction = "Right"


class TokenizeRequest(RequestBody):
    """The body of `POST /tokenize`."""

    inputs: Annotated[str | Texts, Field(union_mode="left_to_right")]
    add_special_tokens: bool = Field(default=True, description="Whether to include the end-of-text token.")
    prompt_name: Prompt = None


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
