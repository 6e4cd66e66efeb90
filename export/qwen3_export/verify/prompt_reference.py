"""Whether a reranker's prompt template makes the prompt that transformers makes of the checkpoint's chat template.

It shares no code with export's reader of chat templates, so that a mistake of that reader is found.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import transformers

from ..model_directory.triton_config import read_config
from .sentence_reference import checkpoint_file
from .source import Source
from .texts import RERANKER_BODY, RERANKER_PREFIX, RERANKER_SUFFIX

_QUERY, _DOCUMENT = "Which planet is red?\n", " Mars {query} is. "
_QWEN = f"{RERANKER_PREFIX}{RERANKER_BODY.replace('{task}', '{instruction}')}{RERANKER_SUFFIX}"


def prompt_fault(directory: Path, source: Source) -> str | None:
    """Return what differs between the prompts of a pair with the default instruction; None if nothing does.

    Args:
        directory: The model directory of a reranker.
        source: Its checkpoint. One without a chat template for pairs is not compared.
    """
    expected = _rendered(source)
    if expected is None:
        return None
    parameters = read_config(directory / "config.pbtxt").parameters
    template = parameters["prompt_template"].string_value if "prompt_template" in parameters else _QWEN
    default = parameters["default_instruction"].string_value if "default_instruction" in parameters else ""
    before, _, after = template.replace("{instruction}", default).partition("{query}")
    made = f"{before.replace('{document}', _DOCUMENT)}{_QUERY}{after.replace('{document}', _DOCUMENT)}"
    if made == expected:
        return None
    return f"prompt_template in config.pbtxt makes {made!r} of a pair, and the checkpoint's chat template {expected!r}"


def _rendered(source: Source) -> str | None:
    """Return the prompt of a pair as sentence-transformers makes it; None without a chat template for pairs."""
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(source.name_or_path, revision=source.revision)
    if not isinstance(tokenizer.chat_template, str):
        return None
    saved = _read(source, "config_sentence_transformers.json")
    instruction = (saved.get("prompts") or {}).get(saved.get("default_prompt_name"))
    processing = _read(source, "sentence_bert_config.json").get("processing_kwargs") or {}

    def render(*roles: str) -> str:
        messages = [{"role": "system", "content": instruction}] if instruction else []
        messages += [{"role": role, "content": text} for role, text in zip(roles, (_QUERY, _DOCUMENT), strict=True)]
        try:
            return str(
                tokenizer.apply_chat_template(messages, tokenize=False, **(processing.get("chat_template") or {}))
            )
        except Exception:  # noqa: BLE001 - whatever a template raises
            return ""

    prompt = render("query", "document")
    if not (_QUERY in prompt and _DOCUMENT in prompt):
        return None
    # sentence-transformers renders whatever template its rerankers have. Only without it, one for chats says nothing.
    is_saved = saved.get("model_type") == "CrossEncoder" or checkpoint_file(source, "modules.json") is not None
    return prompt if is_saved or "some-role" not in render("some-role", "another-role") else None


def _read(source: Source, name: str) -> dict[str, Any]:
    path = checkpoint_file(source, name)
    return {} if path is None else dict(json.loads(path.read_text("utf-8")))
