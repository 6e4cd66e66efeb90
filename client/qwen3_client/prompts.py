"""What the models read: for a query, for a document, and for a pair of both.

Qwen3-Embedding is asymmetric: a query names its task, a document is taken as it is. Qwen3-Reranker is asked in a
chat whether a document meets a query, and answers with its next token. This module knows nothing about tokens:
the end-of-text token of a text, and cutting what is too long, are the tokenizer's business.
"""

from collections.abc import Sequence

from .errors import InvalidInputError
from .inputs import checked_text
from .options import Kind, checked_kind

# The two ends of a reranker's prompt, from the code of the Qwen3-Reranker model cards. The suffix closes an empty
# thought, so that the next token is the answer. What is between them may be cut; they may not.
RERANKER_PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
RERANKER_SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


def query_prompt(query: str, *, instruction: str) -> str:
    """Put the task before a query, as `get_detailed_instruct` of the Qwen3-Embedding model cards does.

    There is no space after "Query:"; one more token there moves the vector.
    """
    return f"Instruct: {instruction}\nQuery:{query}"


def pair_prompt(pair: tuple[str, str], *, instruction: str) -> str:
    """Put the task, a query and a document between the reranker's prefix and suffix, which are not part of it.

    This is `format_instruction` of the Qwen3-Reranker model cards; here a space does follow each colon.
    """
    query, document = pair
    return f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}"


def embedding_prompts(texts: Sequence[str], *, kind: Kind, instruction: str) -> list[str]:
    """Return what the embedding model reads of each text. Documents are taken as they are.

    Args:
        texts: the texts.
        kind: what they are.
        instruction: the task of queries, as `task_of` returns it.
    """
    if kind == "document":
        return list(texts)
    return [query_prompt(text, instruction=instruction) for text in texts]


def task_of(kind: Kind, *, instruction: str | None, default: str) -> str:
    """Return the task to name before texts of a kind; documents have none, which is "".

    Args:
        kind: what the texts are.
        instruction: the task that the caller names; None for the model's default.
        default: the model's default task.

    Raises:
        InvalidInputError: `kind` is unknown, the instruction is not a text, or documents are given one.
    """
    if checked_kind(kind) == "query":
        return task(instruction, default=default)
    if instruction is not None:
        raise InvalidInputError("documents take no instruction: give it to the queries only")
    return ""


def task(instruction: str | None, *, default: str) -> str:
    """Return the task to name: the caller's, once checked, or else the model's default.

    Raises:
        InvalidInputError: the instruction is not a text.
    """
    return default if instruction is None else checked_text(instruction, what="instruction")
