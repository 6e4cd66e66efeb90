"""Whether a reranker's chat template makes the prompt that clients send: that of the Qwen3-Reranker model cards.

Rerankers saved for sentence-transformers and vLLM have a template that reads the roles `query` and `document`. It is
rendered, and must give the official prompt; only the instruction may differ. A checkpoint without such a template, like
the published ones and those that were converted to Qwen3ForSequenceClassification, leaves the prompt to its user: their
model cards show the official one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ..errors import ExportError
from .json_file import read_object_if_there
from .sentence_config import MODEL_CONFIG, TRANSFORMER_CONFIG

# Source: the code of the Qwen3-Reranker model cards.
PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"

_QUERY, _DOCUMENT = "the-text-of-the-query", "the-text-of-the-document"


def templated_instruction(folder: Path) -> str | None:
    """Return the instruction that a reranker's chat template gives by default; None without a template for pairs.

    Raises:
        ExportError: The template makes another prompt than the official one.
    """
    saved = read_object_if_there(folder / MODEL_CONFIG)
    name = saved.get("default_prompt_name")
    instruction = (saved.get("prompts") or {}).get(name) if name is not None else None
    rendered = _rendered_pair(folder, instruction or None)
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
            f"the chat template in {folder} makes another prompt than Qwen3-Reranker's, which clients send: "
            f"{rendered!r}; remove the template from the folder to export the model for the official prompt"
        )
    return match.group(1)


def _rendered_pair(folder: Path, instruction: str | None) -> str | None:
    """Return the prompt of a pair; None if there is no template, or none that takes pairs."""
    options = read_object_if_there(folder / TRANSFORMER_CONFIG).get("processing_kwargs") or {}
    variables = options.get("chat_template") or {}
    for template in _templates(folder):
        for structured in (False, True):
            rendered = _render(template, _messages(instruction, structured=structured), variables)
            if _QUERY in rendered and _DOCUMENT in rendered:
                return None if _prints_any_role(template, variables, structured=structured) else rendered
    return None


def _prints_any_role(template: str, variables: Mapping[str, Any], *, structured: bool) -> bool:
    """Whether a template is for chats, such as ChatML: it prints the role of each message, whatever that is."""
    roles = ("some-role", "another-role")
    messages = [
        {**message, "role": role} for message, role in zip(_messages(None, structured=structured), roles, strict=True)
    ]
    rendered = _render(template, messages, variables)
    return all(role in rendered for role in roles)


def _templates(folder: Path) -> Iterator[str]:
    """Yield the default chat template of a folder, from whichever file holds it."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        yield path.read_text("utf-8")
        return
    stored = read_object_if_there(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(stored, str):
        yield stored
    elif isinstance(stored, list):
        yield from (entry["template"] for entry in stored if entry.get("name") == "default")


def _messages(instruction: str | None, *, structured: bool) -> list[dict[str, Any]]:
    texts = {"system": instruction, "query": _QUERY, "document": _DOCUMENT}
    return [
        {"role": role, "content": [{"type": "text", "text": text}] if structured else text}
        for role, text in texts.items()
        if text is not None
    ]


def _render(template: str, messages: list[dict[str, Any]], variables: Mapping[str, Any]) -> str:
    """Render as transformers' `apply_chat_template` does; "" if the template refuses these messages."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _refuse
    context = {"tools": None, "documents": None, "add_generation_prompt": False, **variables, "messages": messages}
    try:
        return environment.from_string(template).render(context)
    except (TemplateError, TypeError):  # such as a template for chats of user and assistant alone
        return ""


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)
