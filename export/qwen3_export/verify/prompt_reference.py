"""Whether a reranker's prompt template makes the token ids that its own library reads for a pair.

That is what transformers makes of the chat template, or of a pair of texts where sentence-transformers renders none.

It shares no code with export's reader of chat templates, so that a mistake of that reader is found.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import transformers

from ..model_directory.triton_config import read_config
from .cases import ModelTokenizer
from .sentence_reference import checkpoint_file
from .source import Source
from .texts import RERANKER_BODY, RERANKER_PREFIX, RERANKER_SUFFIX

# With capitals, white space at the ends, letters beyond ASCII, and in the second pair "yes" in two halves.
_PAIRS = (("Which Planet is red?\n", " Mars {query} is. "), ("İs É y", "es ẞ"))
_QWEN = f"{RERANKER_PREFIX}{RERANKER_BODY.replace('{task}', '{instruction}')}{RERANKER_SUFFIX}"


def prompt_fault(directory: Path, source: Source, tokenizer: ModelTokenizer) -> str | None:
    """Return what differs between the prompts of a pair with the default instruction; None if nothing does.

    Args:
        directory: The model directory of a reranker.
        source: Its checkpoint. One that leaves the prompt to its user is not compared.
        tokenizer: The tokenizer of the model directory.
    """
    own: Any = transformers.AutoTokenizer.from_pretrained(source.name_or_path, revision=source.revision)
    saved = _read(source, "config_sentence_transformers.json")
    instruction = (saved.get("prompts") or {}).get(saved.get("default_prompt_name")) or ""
    settings = _read(source, "sentence_bert_config.json")
    has_modules = checkpoint_file(source, "modules.json") is not None
    variables = (settings.get("processing_kwargs") or {}).get("chat_template") or {}
    parameters = read_config(directory / "config.pbtxt").parameters
    template = parameters["prompt_template"].string_value if "prompt_template" in parameters else _QWEN
    default = parameters["default_instruction"].string_value if "default_instruction" in parameters else ""
    before, _, after = template.replace("{instruction}", default).partition("{query}")
    for query, document in _PAIRS:
        made = f"{before.replace('{document}', document)}{query}{after.replace('{document}', document)}"
        if has_modules and "message" not in (settings.get("modality_config") or {}):
            joined = own(f"{instruction}{query}", document)["input_ids"]
            if joined != tokenizer.body(made):
                return (
                    f"prompt_template in config.pbtxt makes {made!r} of a pair, and sentence-transformers the tokens "
                    f"of {own.decode(joined)!r}"
                )
            continue
        if not has_modules and not _takes_pairs(own, instruction, variables, saved):
            return None
        rendered = _rendered(own, instruction, {"query": query, "document": document}, variables)
        if made != rendered:
            return (
                f"prompt_template in config.pbtxt makes {made!r} of a pair, and the checkpoint's chat template "
                f"{rendered!r}"
            )
    return None


def _takes_pairs(own: Any, instruction: str, variables: dict[str, Any], saved: dict[str, Any]) -> bool:  # noqa: ANN401
    """Whether a folder without modules.json has a chat template for pairs, and not one for chats."""
    if not isinstance(own.chat_template, str):
        return False
    pairs = ({"query": "a", "document": "a"}, {"query": "b", "document": "a"}, {"query": "a", "document": "b"})
    if len({_rendered(own, instruction, texts, variables) for texts in pairs}) != len(pairs):
        return False
    # sentence-transformers renders whatever template its rerankers have. Only without it, one for chats says nothing.
    is_for_chats = "some-role" in _rendered(own, instruction, {"some-role": "a", "another-role": "a"}, variables)
    return saved.get("model_type") == "CrossEncoder" or not is_for_chats


def _rendered(own: Any, instruction: str, texts: dict[str, str], variables: dict[str, Any]) -> str:  # noqa: ANN401
    """Return the prompt that the chat template makes of texts by their roles; "" if it fails."""
    messages = [{"role": "system", "content": instruction}] if instruction else []
    messages += [{"role": role, "content": text} for role, text in texts.items()]
    try:
        return str(own.apply_chat_template(messages, tokenize=False, **variables))
    except Exception:  # noqa: BLE001 - whatever a template raises
        return ""


def _read(source: Source, name: str) -> dict[str, Any]:
    path = checkpoint_file(source, name)
    return {} if path is None else dict(json.loads(path.read_text("utf-8")))
