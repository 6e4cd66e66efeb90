"""The prompts of an embedding model: what clients put before queries and documents, as sentence-transformers saved it.

The rules are those of `encode_query` and `encode_document` of sentence-transformers 6: the prompt called `query` goes
before queries, the one called `document` before documents.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import ExportError
from .modules import MODULES
from .sentence_config import MODEL_CONFIG, saved_prompts

# The form of Qwen3-Embedding's query prompt, in which clients may name another task.
_WITH_TASK = re.compile(r"Instruct: (.+)\nQuery:")


def prompt_parameters(folder: Path, *, default_instruction: str) -> dict[str, str]:
    """Return the parameters of a model's configuration that tell clients its prompts.

    Args:
        folder: The folder with the checkpoint, or with an adapter that sentence-transformers saved.
        default_instruction: The task that queries name if sentence-transformers did not save the model. If it did,
            and saved no prompts, it puts nothing before a text.

    Returns:
        `default_instruction` for a model whose queries name their task, or else `query_prompt`, which goes before each
        query; and `document_prompt` for a model whose documents have one.

    Raises:
        ExportError: The prompts are not texts, or it is not clear which are for queries and documents.
    """
    path = folder / MODEL_CONFIG
    if not path.is_file() and not (folder / MODULES).is_file():
        return {"default_instruction": default_instruction}
    prompts, default = saved_prompts(folder)
    query, document = prompts.get("query"), prompts.get("document")
    for name in ("passage", "corpus"):
        if document is None and prompts.get(name):
            raise ExportError(
                f"{path} has a prompt {name!r} and none called 'document', which is the one that sentence-transformers "
                "puts before documents; rename it"
            )
    if default not in (None, "query", "document") and prompts.get(default) and None in (query, document):
        raise ExportError(
            f"{path} names {default!r} as the default prompt, but not what goes before queries and before documents; "
            "add prompts called 'query' and 'document'"
        )
    named = _WITH_TASK.fullmatch(query or "")
    parameters = {"query_prompt": query or ""} if named is None else {"default_instruction": named.group(1)}
    return parameters | ({"document_prompt": document} if document else {})
