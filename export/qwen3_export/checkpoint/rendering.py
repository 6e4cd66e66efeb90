"""Rendering the chat template of a tokenizer as transformers' `apply_chat_template` does.

Knows nothing about rerankers and about what a template should print.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.ext import Extension
from jinja2.nodes import Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ..errors import ExportError
from .json_file import read_object_if_there
from .sentence_config import TOKENIZER_CONFIG

DATE = "the-current-date"  # what `strftime_now` prints here, in place of a date that would not change any more
_FILE, _FOLDER = "chat_template.jinja", "additional_chat_templates"


class _RefusalError(TemplateError):
    """What a template raises itself, with `raise_exception`: it does not take these messages."""


class _Generation(Extension):
    """`{% generation %}`, with which templates mark what a model writes. It prints what is inside."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's interface

    def parse(self, parser: Parser) -> list[Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def chosen_template(folder: Path, *, name: str | None = None) -> str | None:
    """Return a chat template of a folder, from whichever file holds it; None if there is no default one.

    Args:
        folder: The folder with the tokenizer.
        name: A template's name, or a template itself, as transformers takes it; None for the default one.

    Raises:
        ExportError: A file cannot be read.
    """
    stored = read_object_if_there(folder / TOKENIZER_CONFIG).get("chat_template")
    named: dict[str, str] = {}
    if isinstance(stored, str):
        named["default"] = stored
    elif isinstance(stored, list) and all(_is_named_template(entry) for entry in stored):
        named = {entry["name"]: entry["template"] for entry in stored}
    elif stored is not None:
        raise ExportError(
            f"{folder / TOKENIZER_CONFIG} has a chat_template that is neither a text nor a list of names and texts; "
            "save the tokenizer again with transformers"
        )
    # Files go before what tokenizer_config.json holds.
    files = {path.stem: path for path in sorted((folder / _FOLDER).glob("*.jinja"))}
    if (folder / _FILE).is_file():
        files["default"] = folder / _FILE
    chosen = name or "default"
    try:
        return files[chosen].read_text("utf-8") if chosen in files else named.get(chosen, name)
    except (OSError, ValueError) as error:
        raise ExportError(f"{files[chosen]} cannot be read: {error}") from None


def _is_named_template(entry: object) -> bool:
    return isinstance(entry, Mapping) and all(isinstance(entry.get(key), str) for key in ("name", "template"))


def special_tokens(folder: Path) -> dict[str, str]:
    """Return the special tokens by the names that templates know, such as `eos_token`."""
    found = {}
    for key, token in read_object_if_there(folder / TOKENIZER_CONFIG).items():
        content = token.get("content") if isinstance(token, Mapping) else token
        if key.endswith("_token") and isinstance(content, str):
            found[key] = content
    return found


def render(template: str, messages: Sequence[Mapping[str, Any]], variables: Mapping[str, Any]) -> str:
    """Render a template; "" if it refuses these messages by `raise_exception`.

    Args:
        template: The template, in Jinja.
        messages: The messages, each with its role and content.
        variables: What else the template may use.

    Raises:
        ExportError: The template is not valid, or fails.
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
    )
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = _strftime_now
    environment.filters["tojson"] = _to_json
    context = {"tools": None, "documents": None, "add_generation_prompt": False, **variables, "messages": messages}
    try:
        return environment.from_string(template).render(context)
    except _RefusalError:  # such as that of a template for chats of user and assistant alone
        return ""
    except Exception as error:  # noqa: BLE001 - a template can raise what any expression can
        reason = (str(error).splitlines() or [""])[0]
        raise ExportError(f"{type(error).__name__}: {reason}") from None


def _refuse(message: str) -> NoReturn:
    raise _RefusalError(message)


def _strftime_now(_form: str) -> str:
    return DATE


def _to_json(value: object, **options: Any) -> str:  # noqa: ANN401 - json's options
    return json.dumps(value, **{"ensure_ascii": False, **options})
