"""The prompts that the models read: for a query, for a document, and for a pair of both.

Qwen3-Embedding is asymmetric: a query is preceded by the task, and a document is read as it is. Other models state the
text that precedes their queries and documents. Qwen3-Reranker is asked in a chat whether a document meets a query, and
answers with its next token; a reranker states the template of that chat. This module knows nothing about tokens: the
tokenizer adds the end token and cuts what is too long.
"""

from .contract import ModelInfo, RerankerInfo
from .errors import InvalidInputError
from .frame import Frame, Part, Prompt
from .inputs import checked_text
from .options import Kind, checked_kind
from .pair_template import template_parts

# Qwen3-Embedding's `get_detailed_instruct`, from its model cards. There is no space after "Query:"; a space would
# change the vector.
_BEFORE_TASK, _AFTER_TASK = "Instruct: ", "\nQuery:"


def query_prompt(query: str, *, instruction: str) -> str:
    """Return the prompt for a query, with the task before it, as in the Qwen3-Embedding model cards."""
    return f"{_BEFORE_TASK}{instruction}{_AFTER_TASK}{query}"


def prefix_of(info: ModelInfo, kind: Kind, *, instruction: str | None = None) -> str:
    """Return the text that the embedding model reads before each text of a kind. See `frame_of`."""
    return "".join(part.text for part in frame_of(info, kind, instruction=instruction).before)


def frame_of(info: ModelInfo, kind: Kind, *, instruction: str | None = None, prefix: str | None = None) -> Frame:
    """Return what the embedding model reads around each text of a kind.

    Args:
        info: what the model says about itself.
        kind: whether the texts are queries or documents.
        instruction: the task of queries that the caller gives; None for the model's default.
        prefix: what to put before each text in place of the model's prompt; None for the model's prompt.

    Raises:
        InvalidInputError: `kind` is unknown, the instruction is not a text, or texts of this kind take none.
    """
    if prefix is not None:
        is_own = prefix in (info.query_prompt, info.document_prompt)
        return Frame(before=(Part(prefix, "template" if is_own else "instruction"),))
    if checked_kind(kind) == "document":
        if instruction is not None:
            raise InvalidInputError("documents take no instruction: give it to the queries only")
        return Frame(before=(Part(info.document_prompt, "template"),))
    if info.query_prompt is None:
        given = task(instruction, default=info.default_instruction)
        before = (Part(_BEFORE_TASK, "template"), Part(given, "instruction"), Part(_AFTER_TASK, "template"))
        return Frame(before=before)
    if instruction is not None:
        begin = f"begin with {info.query_prompt!r}" if info.query_prompt else "have no prompt"
        raise InvalidInputError(
            f"the queries of the model {info.name!r} {begin}, so it takes no instruction: leave instruction= out"
        )
    return Frame(before=(Part(info.query_prompt, "template"),))


def pair_prompt(pair: tuple[str, str], *, template: str, instruction: str) -> Prompt:
    """Return the prompt for a pair.

    Args:
        pair: query and document.
        template: the reranker's template.
        instruction: the task.
    """
    query, document = pair
    before: list[Part] = []
    after: list[Part] = []
    parts = before
    for text, follows in template_parts(template):
        parts.append(Part(text, "template"))
        if follows == "document":
            parts = after
        elif follows is not None:
            parts.append(Part(query if follows == "query" else instruction, follows))
    return Prompt(document, Frame(before=tuple(before), after=tuple(after)))


def pair_task(info: RerankerInfo, instruction: str | None) -> str:
    """Return the instruction for pairs after checking it, or the model's default if it is None.

    Raises:
        InvalidInputError: the instruction is not a text, or the model's template has none.
    """
    if instruction is not None and not info.takes_instruction:
        raise InvalidInputError(
            f"the prompt template of the model {info.name!r} has no instruction: leave instruction= out"
        )
    return task(instruction, default=info.default_instruction)


def task(instruction: str | None, *, default: str) -> str:
    """Return the instruction after checking it, or the model's default if it is None.

    Raises:
        InvalidInputError: the instruction is not a text.
    """
    return default if instruction is None else checked_text(instruction, what="instruction")
