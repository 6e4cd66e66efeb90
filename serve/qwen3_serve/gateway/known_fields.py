"""The fields of the APIs that would change a result: a route that does not support one refuses it.

The rule for all routes: a field that would change the result is never ignored; other fields that a route does not know
may be. A request body declares the fields that it supports as its own; `RequestBody.changing` names the table below
that holds all others. docs/gateway.md shows the same tables, and a test compares them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Changing:
    """A field that would change the result.

    Attributes:
        advice: What to send instead, or why there is no such thing here; the end of an error message.
        neutral: The values that ask for what happens anyway. So does null, for every field.
    """

    advice: str
    neutral: tuple[Any, ...] = ()


_TRUNCATE = "say it with this route's own field, or shorten the texts"
_KIND = "say what the texts are with this route's own field, or use POST /v1/embeddings with input_type"
_DIMENSIONS = "this route has no such field: use its own, or dimensions of POST /v1/embeddings"
_TYPE = "this route gives float vectors: POST /v1/embeddings has embedding_type"
_CHAT = "send the text itself as the input"
_TEXT_ONLY = "the model reads texts only"

EMBEDDING: Final[Mapping[str, Changing]] = {
    "add_generation_prompt": Changing(_CHAT, (False,)),
    "add_special_tokens": Changing("the end-of-text token always belongs to a text", (True,)),
    "chat_template": Changing(_CHAT),
    "chat_template_kwargs": Changing(_CHAT),
    "continue_final_message": Changing(_CHAT, (False,)),
    "dimensions": Changing(_DIMENSIONS),
    "embed_dtype": Changing(_TYPE, ("float", "float32")),
    "embedding_type": Changing(_TYPE, ("float",)),
    "embedding_types": Changing(_TYPE, (["float"],)),
    "encoding_format": Changing(_TYPE, ("float",)),
    "endianness": Changing("bytes are little-endian", ("native", "little")),
    "images": Changing(_TEXT_ONLY, ([],)),
    "input_type": Changing(_KIND),
    "instruct": Changing("send it as instruction to POST /v1/embeddings"),
    "instruction": Changing("POST /v1/embeddings takes it, with input_type query"),
    "late_chunking": Changing("each text gets a vector of its own; send the chunks", (False,)),
    "max_tokens": Changing(_TRUNCATE),
    "messages": Changing(_CHAT),
    "mm_processor_kwargs": Changing(_TEXT_ONLY, ({},)),
    "modality": Changing(_TEXT_ONLY, ("text", ["text"])),
    "output_dimension": Changing(_DIMENSIONS),
    "output_dtype": Changing(_TYPE, ("float",)),
    "parameters": Changing("write its fields beside the inputs", ({},)),
    "prompt": Changing("write it before the texts"),
    "prompt_name": Changing(_KIND),
    "return_multivector": Changing("each text gets one vector", (False,)),
    "task": Changing(_KIND),
    "task_type": Changing(_KIND),
    "text_type": Changing(_KIND),
    "truncate": Changing(_TRUNCATE),
    "truncate_prompt_tokens": Changing(_TRUNCATE),
    "truncation": Changing(_TRUNCATE),
    "truncation_direction": Changing(_TRUNCATE),
    "truncation_side": Changing("the end of a text is cut, unless truncate is START", ("right",)),
}

_ACTIVATION = "scores are probabilities; where this route has raw_scores, that gives logits"
_TOP = "this route returns all results; POST /v1/rerank has top_n"

RERANKING: Final[Mapping[str, Changing]] = {
    "activation": Changing(_ACTIVATION, (True,)),
    "add_special_tokens": Changing("the reranker's prompt is fixed", (True,)),
    "chat_template": Changing("the reranker's prompt is fixed; POST /v1/rerank has instruction"),
    "chat_template_kwargs": Changing("the reranker's prompt is fixed; POST /v1/rerank has instruction"),
    "instruct": Changing("send it as instruction to POST /v1/rerank"),
    "instruction": Changing("POST /v1/rerank takes it"),
    "max_doc_length": Changing(_TRUNCATE),
    "max_query_length": Changing("shorten the query"),
    "max_tokens_per_doc": Changing(_TRUNCATE),
    "max_tokens_per_query": Changing("shorten the query"),
    "mm_processor_kwargs": Changing(_TEXT_ONLY, ({},)),
    "normalize": Changing(_ACTIVATION, (True,)),
    "rank_fields": Changing("put what is to be ranked into text", (["text"],)),
    "raw_scores": Changing("POST /rerank has this field", (False,)),
    "return_documents": Changing("this route returns indices only", (False,)),
    "return_embeddings": Changing("a reranker has no vectors", (False,)),
    "return_text": Changing("this route calls it otherwise", (False,)),
    "softmax": Changing(_ACTIVATION, (True,)),
    "top_k": Changing(_TOP),
    "top_n": Changing(_TOP),
    "truncate": Changing(_TRUNCATE),
    "truncate_prompt_tokens": Changing(_TRUNCATE),
    "truncation": Changing(_TRUNCATE),
    "truncation_direction": Changing(_TRUNCATE),
    "truncation_side": Changing(_TRUNCATE),
    "use_activation": Changing(_ACTIVATION, (True,)),
}

TOKENIZING: Final[Mapping[str, Changing]] = {
    "add_generation_prompt": Changing(_CHAT, (False,)),
    "add_special_tokens": Changing("this route has no such field"),
    "chat_template": Changing(_CHAT),
    "messages": Changing(_CHAT),
    "prompt_name": Changing("this route tokenizes texts as they are"),
    "skip_special_tokens": Changing("this route keeps them", (False,)),
}

TEXT: Final[Mapping[str, Changing]] = {
    "audio": Changing(_TEXT_ONLY),
    "image": Changing(_TEXT_ONLY),
    "image_url": Changing(_TEXT_ONLY),
    "images": Changing(_TEXT_ONLY, ([],)),
    "multi_modal": Changing(_TEXT_ONLY, ([],)),
    "pdf": Changing(_TEXT_ONLY),
    "video": Changing(_TEXT_ONLY),
}
