"""The requests and responses of OpenAI's API, with the fields that NVIDIA NIM, Jina, vLLM and Voyage add to it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from ..body import RequestBody
from ..known_fields import EMBEDDING, TEXT
from ..vector_types import EmbeddingType
from .options import InputType, Task, Texts, TokenIdLists, TokenIds, TruncateEnd


class TextObject(RequestBody):
    """A text as Jina's clients send it."""

    changing = TEXT

    text: str


class EmbeddingRequest(RequestBody):
    """The body of `POST /v1/embeddings`."""

    changing = EMBEDDING
    harmless = frozenset(
        {"normalize", "normalized", "priority", "request_id", "service_tier", "use_activation", "user"}
    )

    input: Annotated[
        str | Texts | TokenIds | TokenIdLists | Annotated[list[TextObject], Field(fail_fast=True)],
        Field(
            union_mode="left_to_right",
            description="A text, a list of texts, the token ids of a text, or a list of these. Token ids must end in "
            "the end-of-text token.",
        ),
    ]
    model: str | None = Field(None, description="A name from GET /v1/models, an alias, or Ollama's name.")
    dimensions: int | None = Field(
        None, ge=0, description="Length of the vectors; 0, which Infinity's clients send, or no value, for the model's."
    )
    output_dimension: int | None = Field(None, ge=1, description="Voyage's and Mistral's name of dimensions.")
    encoding_format: Literal["float", "base64"] | None = Field(None, description="The default is float.")
    input_type: InputType | None = Field(
        None,
        description="query and search_query put the instruction for queries before the texts; all others, and no "
        "value, embed them as they are.",
    )
    task: Task | None = Field(None, description="Jina's: retrieval.query is input_type query, all others passage.")
    instruction: str | None = Field(
        None, min_length=1, description="The task of queries, in one sentence; only with input_type query."
    )
    truncate: TruncateEnd | bool | None = Field(
        None,
        description="Which end a text that is too long loses: START or END, or true; NONE, the default, refuses it.",
    )
    truncation: bool | None = Field(None, description="Voyage's: true is truncate END, false is NONE.")
    truncate_prompt_tokens: int | None = Field(
        None, ge=-1, description="vLLM's: cut texts to so many tokens; -1 for the model's limit."
    )
    embedding_type: EmbeddingType | Literal["base64"] | None = Field(
        None,
        description="Type of the numbers, float by default; int8 and uint8 only if the gateway has a calibration. "
        "base64 is Jina's name of encoding_format base64.",
    )
    output_dtype: EmbeddingType | None = Field(None, description="Voyage's and Mistral's name of embedding_type.")


class Embedding(BaseModel):
    """One vector of the response."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """The number of tokens that the model read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingResponse(BaseModel):
    """The response of `POST /v1/embeddings`."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage
    system_fingerprint: str | None


class Model(BaseModel):
    """One served model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelsResponse(BaseModel):
    """The response of `GET /v1/models`."""

    object: Literal["list"]
    data: list[Model]


class OpenAIError(BaseModel):
    """An error."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIErrorResponse(BaseModel):
    """The body of an error response: `error` is OpenAI's, `detail` Jina's."""

    error: OpenAIError
    detail: Any
