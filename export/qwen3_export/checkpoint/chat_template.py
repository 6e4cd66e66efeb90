"""Whether a reranker's chat template makes the prompt that clients send: that of the Qwen3-Reranker model cards.

Rerankers saved for sentence-transformers and vLLM have a template that reads the roles `query` and `document`. It is
rendered, and must give the official prompt; only the instruction may differ. A checkpoint without such a template, like
the published ones and those that were converted to Qwen3ForSequenceClassification, leaves the prompt to its user: their
model cards show the official one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ExportError
from .json_file import read_object_if_there
from .modules import MODULES
from .rendering import chosen_template, render, special_tokens
from .sentence_config import MODEL_CONFIG, TRANSFORMER_CONFIG

# Source: the code of the Qwen3-Reranker model cards.
PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"

_QUERY, _DOCUMENT = "the-text-of-the-query", "the-text-of-the-document"


def templated_instruction(folder: Path, *, tokenizer_folder: Path) -> str | None:
    """Return the instruction that a reranker's chat template gives by default; None without a template for pairs.

    Args:
        folder: The folder that sentence-transformers saved, or the checkpoint.
        tokenizer_folder: The folder with the tokenizer and its chat template.

    Raises:
        ExportError: The template makes another prompt than the official one, or cannot be rendered.
    """
    saved = read_object_if_there(folder / MODEL_CONFIG)
    name = saved.get("default_prompt_name")
    instruction = (saved.get("prompts") or {}).get(name) if name is not None else None
    rendered = _rendered_pair(folder, tokenizer_folder, instruction or None)
    if rendered is None:
        if instruction:
            raise ExportError(
                f"{folder / MODEL_CONFIG} puts the prompt {instruction!r} before each pair, but "
                "there is no chat template that it belongs to; clients send the official prompt of Qwen3-Reranker "
                "instead, so remove default_prompt_name if this is what the model was trained with"
            )
        return None
    official = f"{re.escape(PREFIX)}<Instruct>: (.+)\n<Query>: {_QUERY}\n<Document>: {_DOCUMENT}{re.escape(SUFFIX)}"
    match = re.fullmatch(official, rendered)
    if match is None:
        raise ExportError(
            f"the chat template in {tokenizer_folder} makes another prompt than Qwen3-Reranker's, which clients send: "
            f"{rendered!r}; remove the template from the folder to export the model for the official prompt"
        )
    return match.group(1)


def _rendered_pair(folder: Path, tokenizer_folder: Path, instruction: str | None) -> str | None:
    """Return the prompt of a pair; None if there is no template, or none that takes pairs.

    Raises:
        ExportError: The template cannot be rendered.
    """
    options = read_object_if_there(folder / TRANSFORMER_CONFIG).get("processing_kwargs") or {}
    variables = dict(options.get("chat_template") or {})
    template = chosen_template(tokenizer_folder, name=variables.pop("chat_template", None))
    if template is None:
        return None
    variables = special_tokens(tokenizer_folder) | variables
    # sentence-transformers renders whatever template its rerankers have. Only without it, one for chats says nothing.
    saved = read_object_if_there(folder / MODEL_CONFIG).get("model_type") == "CrossEncoder"
    is_saved = saved or (folder / MODULES).is_file()
    failure = None
    for structured in (False, True):
        try:
            rendered = render(template, _messages(instruction, structured=structured), variables)
        except ExportError as error:
            # Many templates take texts alone, and fail for parts of texts.
            failure = failure if structured else error
            continue
        if _QUERY in rendered and _DOCUMENT in rendered:
            any_role = not is_saved and _prints_any_role(template, variables, structured=structured)
            return None if any_role else rendered
    if failure is not None:
        raise ExportError(
            f"the chat template in {tokenizer_folder} cannot be rendered ({failure}); correct it, or remove it to "
            "export the model for the official prompt"
        )
    return None


def _prints_any_role(template: str, variables: Mapping[str, Any], *, structured: bool) -> bool:
    """Whether a template is for chats, such as ChatML: it prints the role of each message, whatever that is."""
    roles = ("some-role", "another-role")
    messages = [
        {**message, "role": role} for message, role in zip(_messages(None, structured=structured), roles, strict=True)
    ]
    try:
        rendered = render(template, messages, variables)
    except ExportError:
        return False
    return all(role in rendered for role in roles)


def _messages(instruction: str | None, *, structured: bool) -> list[dict[str, Any]]:
    texts = {"system": instruction, "query": _QUERY, "document": _DOCUMENT}
    return [
        {"role": role, "content": [{"type": "text", "text": text}] if structured else text}
        for role, text in texts.items()
        if text is not None
    ]
