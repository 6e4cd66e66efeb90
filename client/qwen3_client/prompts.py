"""The prompts that the models read: for a query, for a document, and for a pair of both.

Qwen3-Embedding is asymmetric: a query is preceded by the task, and a document is read as it is. Other models state the
text that precedes their queries and documents. Qwen3-Reranker is asked in a chat whether a document meets a query, and
answers with its next token. This module knows nothing about tokens: the tokenizer adds the end token and cuts what is
too long.
"""

from .contract import ModelInfo
from .errors import InvalidInputError
from .inputs import checked_text
from .options import Kind, checked_kind

# The start and the end of a reranker's prompt, from the code of the Qwen3-Reranker model cards. The suffix contains an
# empty thinking block, so that the next token is the answer. The text between them may be cut, they may not.
RERANKER_PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
RERANKER_SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


def query_prompt(query: str, *, instruction: str) -> str:
    """Return the prompt for a query, with the task before it, as in the Qwen3-Embedding model cards.

    This is their `get_detailed_instruct`. There is no space after "Query:"; a space would change the vector.
    """
    return f"Instruct: {instruction}\nQuery:{query}"


def pair_prompt(pair: tuple[str, str], *, instruction: str) -> str:
    """Return the part of the prompt for a pair that goes between the reranker's prefix and suffix.

    This is `format_instruction` of the Qwen3-Reranker model cards. Here, a space does follow each colon.
    """
    query, document = pair
    return f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}"


def prefix_of(info: ModelInfo, kind: Kind, *, instruction: str | None = None) -> str:
    """Return the text that the embedding model reads before each text of a kind.

    Args:
        info: what the model says about itself.
        kind: whether the texts are queries or documents.
        instruction: the task of queries that the caller gives; None for the model's default.

    Raises:
        InvalidInputError: `kind` is unknown, the instruction is not a text, or texts of this kind take none.
    """
    if checked_kind(kind) == "document":
        if instruction is not None:
            raise InvalidInputError("documents take no instruction: give it to the queries only")
        return info.document_prompt
    if info.query_prompt is None:
        return query_prompt("", instruction=task(instruction, default=info.default_instruction))
    if instruction is not None:
        begin = f"begin with {info.query_prompt!r}" if info.query_prompt else "have no prompt"
        raise InvalidInputError(
            f"the queries of the model {info.name!r} {begin}, so it takes no instruction: leave instruction= out"
        )
    return info.query_prompt


def task(instruction: str | None, *, default: str) -> str:
    """Return the instruction after checking it, or the model's default if it is None.

    Raises:
        InvalidInputError: the instruction is not a text.
    """
    return default if instruction is None else checked_text(instruction, what="instruction")
