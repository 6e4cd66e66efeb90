"""What the model reads for a query and for a document.

Qwen3-Embedding is asymmetric: a query names its task, a document is taken as it is. This module knows nothing
about tokens; the end-of-text token is the tokenizer's business.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

from ._errors import InvalidInputError
from ._texts import checked_text

__all__ = ["Kind", "document_prompt", "prompt_for", "query_prompt"]

Kind = Literal["query", "document"]


def query_prompt(query: str, *, instruction: str) -> str:
    """Puts the task before a query, as `get_detailed_instruct` of the Qwen3-Embedding model cards does.

    There is no space after "Query:"; one more token there moves the vector.
    """
    return f"Instruct: {instruction}\nQuery:{query}"


def document_prompt(document: str) -> str:
    """Returns a document unchanged: documents have no instruction."""
    return document


def prompt_for(kind: Kind, *, instruction: str | None, default_instruction: str) -> Callable[[str], str]:
    """Chooses the template of one call.

    Args:
        kind: what the texts are.
        instruction: the task of the queries; None for the model's default. Documents take none.
        default_instruction: the model's default task.

    Raises:
        InvalidInputError: `kind` is unknown, the instruction is not a text, or a document is given one.
    """
    if kind == "query":
        task = default_instruction if instruction is None else instruction
        return partial(query_prompt, instruction=checked_text(task, what="instruction"))
    if kind != "document":
        raise InvalidInputError(f"kind must be 'query' or 'document', not {kind!r}")
    if instruction is not None:
        raise InvalidInputError("documents take no instruction: give it to the queries only")
    return document_prompt
