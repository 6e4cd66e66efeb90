"""A reranker's prompt template, read from its chat template.

Rerankers saved for sentence-transformers and vLLM have a chat template that reads the roles `query` and `document`, and
often `system` for the instruction. It is a program in Jinja; clients get a text with placeholders, which is what it
makes of texts that stand for the placeholders. Other texts must then come out the same way, or the export is refused: a
template that trims or shortens texts, say, cannot be written with placeholders.

A checkpoint without such a template, like the published ones and those that were converted to
Qwen3ForSequenceClassification, leaves the prompt to its user: their model cards show that of Qwen3-Reranker.

A folder with modules.json says by `modality_config` whether sentence-transformers renders the template. If it does not,
it reads the pair as the tokenizer joins it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from ..errors import ExportError
from .json_file import read_object_if_there
from .modules import MODULES
from .pair_prompt import PairPrompt
from .rendering import DATE, chosen_template, render, special_tokens
from .sentence_config import (
    MODEL_CONFIG,
    TRANSFORMER_CONFIG,
    check_sentence_config,
    reads_messages,
    saved_prompts,
    template_options,
)

_PLACEHOLDER = re.compile(r"\{(instruction|query|document)\}")
_INSTRUCTION, _QUERY, _DOCUMENT = "the-text-of-the-instruction", "the-text-of-the-query", "the-text-of-the-document"
# Texts that come out otherwise if a template trims, shortens, quotes, or chooses by what a text is.
_PROBES = (" a\n", "{query}{{ 1 }}<b>&\"'\\", "x " * 20_000, "\n\ny\t", "Aa É ẞ İ é")


def pair_prompt(folder: Path, *, tokenizer_folder: Path) -> PairPrompt:
    """Return the prompt of a reranker's pairs: what its library makes of them, or Qwen's if that is left to the user.

    Args:
        folder: The folder that sentence-transformers saved, or the checkpoint.
        tokenizer_folder: The folder with the tokenizer and its chat template.

    Raises:
        ExportError: The template cannot be rendered, or cannot be written with placeholders.
    """
    if (folder / MODULES).is_file():
        check_sentence_config(folder, kind="reranker")
    prompts, name = saved_prompts(folder)
    instruction = (prompts.get(name) if name is not None else None) or None
    if (folder / MODULES).is_file() and not reads_messages(folder):
        return _joined(folder, tokenizer_folder, instruction or "")
    found = _template_for_pairs(folder, tokenizer_folder, instruction)
    if found is None and (folder / MODULES).is_file():
        raise ExportError(
            f"{folder / TRANSFORMER_CONFIG} has modality_config.message, but {tokenizer_folder} holds no chat template "
            "that takes a query and a document; use the chat template that the model was trained with"
        )
    if found is None:
        if instruction:
            raise ExportError(
                f"{folder / MODEL_CONFIG} puts the prompt {instruction!r} before each pair, but "
                "there is no chat template that it belongs to; clients send the official prompt of Qwen3-Reranker "
                "instead, so remove default_prompt_name if this is what the model was trained with"
            )
        return PairPrompt()
    return _checked(found, instruction, folder=tokenizer_folder)


@dataclass(frozen=True, slots=True)
class _ChatTemplate:
    """A chat template with what sentence-transformers gives to it."""

    template: str
    variables: Mapping[str, Any]
    is_structured: bool

    def render(self, instruction: str | None, query: str, document: str) -> str:
        """Return the prompt of a pair; "" if the template refuses it.

        Raises:
            ExportError: The template fails.
        """
        messages = _messages(instruction, query, document, structured=self.is_structured)
        return render(self.template, messages, self.variables)


def _joined(folder: Path, tokenizer_folder: Path, prompt: str) -> PairPrompt:
    """Return the prompt that a tokenizer makes of a pair: a fixed text, the query, special tokens, the document.

    Raises:
        ExportError: There is no token between query and document. They are tokenized apart, and a template as one text.
    """
    path = tokenizer_folder / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - tokenizers raises the bare Exception
        raise ExportError(f"{path} cannot be read: {error}") from None
    tokenizer.no_truncation()
    pair = tokenizer.encode(_QUERY, _DOCUMENT)
    added = [
        "" if sequence is not None else token for sequence, token in zip(pair.sequence_ids, pair.tokens, strict=True)
    ]
    document = pair.sequence_ids.index(1)
    before, after = pair.sequence_ids.index(0), len(added) - pair.sequence_ids[::-1].index(1)
    between = "".join(added[before:document])
    if not between:
        raise ExportError(
            f"{folder / TRANSFORMER_CONFIG} has no modality_config.message, so sentence-transformers reads a pair as "
            "the tokens of the query and at once those of the document, which no prompt template can say; use one "
            "with a chat template for pairs, or, if its users put Qwen3-Reranker's prompt around the texts themselves, "
            f"remove {MODULES} to export it for that prompt"
        )
    template = f"{''.join(added[:before])}{prompt}{{query}}{between}{{document}}{''.join(added[after:])}"
    _check_placeholders(template, prompt, folder=folder)
    return PairPrompt(template=template, instruction=None)


def _checked(chat: _ChatTemplate, instruction: str | None, *, folder: Path) -> PairPrompt:
    """Return the prompt of a chat template after trying it with other texts."""
    usual = chat.render(instruction, _QUERY, _DOCUMENT)
    if DATE in usual:
        raise ExportError(
            f"the chat template in {folder} prints the current date, which would stay that of the export; use a "
            "template without strftime_now"
        )
    named = chat.render(_INSTRUCTION, _QUERY, _DOCUMENT)
    template = _with_placeholders(named)
    takes_instruction = "{instruction}" in template
    default = instruction
    if takes_instruction and default is None:
        literals = [re.escape(text) for text in _PLACEHOLDER.split(template)[::2]]
        names = _PLACEHOLDER.findall(template)
        groups = {"instruction": "(.*)", "query": _QUERY, "document": _DOCUMENT}
        pattern = literals[0] + "".join(groups[name] + text for name, text in zip(names, literals[1:], strict=True))
        match = re.fullmatch(pattern, usual, re.DOTALL)
        default = match and match.group(1)
        takes_instruction = match is not None
    if not takes_instruction:  # without an instruction, the prompt has another form, or it has the same one always
        template, default = _with_placeholders(usual), None
    given = (lambda text: text) if takes_instruction else (lambda _: instruction)
    _check_placeholders(template, usual, folder=folder)
    for probe in _PROBES:
        texts = {"instruction": f"i{probe}", "query": f"q{probe}", "document": f"{probe}d{probe}"}
        expected = _PLACEHOLDER.sub(lambda found: texts[found.group(1)], template)  # noqa: B023 - called at once
        if chat.render(given(texts["instruction"]), texts["query"], texts["document"]) != expected:
            raise ExportError(
                f"the chat template in {folder} does more than to put instruction, query and document between fixed "
                f"texts: it does not make {_shown(expected)} of such texts; remove the template from the folder to "
                "export the model for Qwen3-Reranker's prompt, if it was trained with that"
            )
    return PairPrompt(template=template, instruction=default)


def _with_placeholders(rendered: str) -> str:
    return rendered.replace(_INSTRUCTION, "{instruction}").replace(_QUERY, "{query}").replace(_DOCUMENT, "{document}")


def _check_placeholders(template: str, rendered: str, *, folder: Path) -> None:
    names = _PLACEHOLDER.findall(template)
    if _PLACEHOLDER.search(rendered) or sorted(names) != sorted({*names, "query", "document"}):
        raise ExportError(
            f"the chat template in {folder} gives query and document another number of times than once, or contains "
            f"the text of a placeholder: {_shown(rendered)}; it cannot be served"
        )


def _shown(text: str) -> str:
    return repr(text if len(text) <= 400 else f"{text[:400]}...")


def _template_for_pairs(folder: Path, tokenizer_folder: Path, instruction: str | None) -> _ChatTemplate | None:
    """Return the chat template of a reranker with its form of messages; None if there is none that takes pairs.

    Raises:
        ExportError: The template cannot be rendered.
    """
    variables = template_options(folder)
    template = chosen_template(tokenizer_folder, name=variables.pop("chat_template", None))
    if template is None:
        return None
    variables = special_tokens(tokenizer_folder) | variables
    # sentence-transformers renders whatever template its rerankers have. Only without it, one for chats says nothing.
    saved = read_object_if_there(folder / MODEL_CONFIG).get("model_type") == "CrossEncoder"
    is_saved = saved or (folder / MODULES).is_file()
    failure = None
    for structured in (False, True):
        chat = _ChatTemplate(template, variables, structured)
        try:
            rendered = chat.render(instruction, _QUERY, _DOCUMENT)
        except ExportError as error:
            # Many templates take texts alone, and fail for parts of texts.
            failure = failure if structured else error
            continue
        if _QUERY in rendered.lower() and _DOCUMENT in rendered.lower():  # `_checked` refuses other letters
            any_role = not is_saved and _prints_any_role(template, variables, structured=structured)
            return None if any_role else chat
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
        {**message, "role": role}
        for message, role in zip(_messages(None, _QUERY, _DOCUMENT, structured=structured), roles, strict=True)
    ]
    try:
        rendered = render(template, messages, variables)
    except ExportError:
        return False
    return all(role in rendered for role in roles)


def _messages(instruction: str | None, query: str, document: str, *, structured: bool) -> list[dict[str, Any]]:
    texts = {"system": instruction, "query": query, "document": document}
    return [
        {"role": role, "content": [{"type": "text", "text": text}] if structured else text}
        for role, text in texts.items()
        if text is not None
    ]
