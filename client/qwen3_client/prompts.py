"""The prompts that the models read: for a query, for a document, and for a pair of both.

Qwen3-Embedding is asymmetric: a query is preceded by the task, and a document is read as it is. Qwen3-Reranker is asked
in a chat whether a document meets a query, and answers with its next token. This module knows nothing about tokens: the
tokenizer adds the end token and cuts what is too long.
"""

from collections.abc import Sequence

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


def embedding_prompts(texts: Sequence[str], *, kind: Kind, instruction: str) -> list[str]:
    """Return the prompt of the embedding model for each text. Documents are returned as they are.

    Args:
        texts: the texts.
        kind: whether they are queries or documents.
        instruction: the task of queries, as `task_of` returns it.
    """
    if kind == "document":
        return list(texts)
    return [query_prompt(text, instruction=instruction) for text in texts]


def task_of(kind: Kind, *, instruction: str | None, default: str) -> str:
    """Return the task to put before texts of a kind; "" for documents, which have none.

    Args:
        kind: whether the texts are queries or documents.
        instruction: the task that the caller gives; None for the model's default.
        default: the model's default task.

    Raises:
        InvalidInputError: `kind` is unknown, the instruction is not a text, or it is given for documents.
    """
    if checked_kind(kind) == "query":
        return task(instruction, default=default)
    if instruction is not None:
        raise InvalidInputError("documents take no instruction: give it to the queries only")
    return ""


def task(instruction: str | None, *, default: str) -> str:
    """Return the instruction after checking it, or the model's default if it is None.

    Raises:
        InvalidInputError: the instruction is not a text.
    """
    return default if instruction is None else checked_text(instruction, what="instruction")
