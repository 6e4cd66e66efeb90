"""What sentence-transformers does to a text before the decoder reads it: the settings beside modules.json.

Knows nothing about modules, which `modules` reads, and nothing about prompts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ..errors import ExportError
from .json_file import read_object_if_there

TRANSFORMER_CONFIG = "sentence_bert_config.json"  # the name does not depend on the model
MODEL_CONFIG = "config_sentence_transformers.json"
TOKENIZER_CONFIG = "tokenizer_config.json"

_Plain = Mapping[str, Mapping[str, tuple[object, ...]]]

# Keys of which some values are a plain model, and every other one a refusal. None stands for a missing key.
_OF_BOTH: Mapping[str, tuple[object, ...]] = {
    "config_args": (None, {}),
    "do_lower_case": (None, False),
    "document_length": (None,),
    "model_args": (None, {}),
    "query_expansion": (None, False),
    "query_length": (None,),
    "tokenizer_args": (None, {}),
}
_EMBEDDING: _Plain = {
    TRANSFORMER_CONFIG: {
        **_OF_BOTH,
        "module_output_name": (None, "token_embeddings"),
        "processing_kwargs": (None, {}),
        "transformer_task": (None, "feature-extraction"),
    },
    MODEL_CONFIG: {"model_type": (None, "SentenceTransformer"), "truncate_dim": (None,)},
}
_RERANKER: _Plain = {
    TRANSFORMER_CONFIG: {
        **_OF_BOTH,
        "module_output_name": (None, "scores", "causal_logits"),
        "transformer_task": (None, "sequence-classification", "text-generation"),
    },
    MODEL_CONFIG: {"model_type": (None, "CrossEncoder")},
}
_OTHERS_KNOWN = {
    # Padding changes nothing, and other modalities than text are never asked for.
    TRANSFORMER_CONFIG: {"max_seq_length", "modality_config", "unpad_inputs"},
    # Versions; how users compare vectors; and prompts, which are not the decoder's business.
    MODEL_CONFIG: {"__version__", "default_prompt_name", "prompts", "similarity_fn_name"},
}
# `chat_template` renders with the arguments for templates, and `reranker_head` reads the activation.
_OTHERS_OF_RERANKERS = {TRANSFORMER_CONFIG: {"processing_kwargs"}, MODEL_CONFIG: {"activation_fn"}}
# Of tokenizer_config.json. transformers 5 leaves its other keys, such as add_bos_token, to tokenizer.json.
_TOKENIZER = {"truncation_side": "right", "split_special_tokens": False, "add_prefix_space": False}
_REMEDIES = {
    "truncate_dim": "remove the key, and ask the client for `dimensions`",
    "do_lower_case": "use a model that reads texts as they are",
}


def longest_text(folder: Path) -> int | None:
    """Return the number of tokens to which sentence-transformers cuts a text; None if it states none.

    Up to release 5 it was in a file of its own; release 6 keeps it with the tokenizer.

    Raises:
        ExportError: A file cannot be read, or states something else than a length.
    """
    stated = []
    for file, key in ((TRANSFORMER_CONFIG, "max_seq_length"), (TOKENIZER_CONFIG, "model_max_length")):
        length = read_object_if_there(folder / file).get(key)
        if length is None:
            continue
        # transformers writes 1e30 for no limit.
        if type(length) not in (int, float) or not 1 <= length < math.inf:
            raise ExportError(f"{folder / file} has {key} = {length!r}, which is not a number of tokens; correct it")
        stated.append(int(length))
    return min(stated, default=None)


def reads_messages(folder: Path) -> bool:
    """Whether sentence-transformers puts texts into the chat template; not for folders of releases before 5.4.

    Raises:
        ExportError: The file cannot be read.
    """
    modalities = read_object_if_there(folder / TRANSFORMER_CONFIG).get("modality_config")
    return isinstance(modalities, Mapping) and "message" in modalities


def saved_prompts(folder: Path) -> tuple[dict[str, str | None], str | None]:
    """Return the prompts that sentence-transformers saved, by their names, and the name of the default one.

    Raises:
        ExportError: The file cannot be read, or its prompts are not texts.
    """
    path = folder / MODEL_CONFIG
    saved = read_object_if_there(path)
    prompts, default = saved.get("prompts") or {}, saved.get("default_prompt_name")
    if not isinstance(prompts, dict) or not all(isinstance(text, str | None) for text in prompts.values()):
        raise ExportError(f"{path} has prompts that are not texts; each needs a name and a text")
    if not isinstance(default, str | None):
        raise ExportError(f"{path} has default_prompt_name = {default!r}, which is not a name; correct it")
    return prompts, default


def template_options(folder: Path) -> dict[str, Any]:
    """Return what sentence-transformers gives to the chat template: the template's name, and variables.

    Raises:
        ExportError: The file cannot be read, or holds something else.
    """
    path = folder / TRANSFORMER_CONFIG
    processing = read_object_if_there(path).get("processing_kwargs") or {}
    options = processing.get("chat_template") or {} if isinstance(processing, dict) else None
    if not isinstance(options, dict) or processing.keys() - {"chat_template"}:
        raise ExportError(
            f"{path} has processing_kwargs = {processing!r}, of which export supports chat_template alone, with the "
            "template's name and variables; use a plain reranker of texts"
        )
    if not isinstance(options.get("chat_template"), str | None):
        raise ExportError(f"{path} has a chat_template in processing_kwargs that is not a text; correct it")
    return dict(options)


def check_tokenizer_config(folder: Path) -> None:
    """Make sure that tokenizer.json alone is the tokenizer.

    Raises:
        ExportError: The tokenizer needs Python code of the checkpoint's own, or tokenizer_config.json changes how
            transformers reads texts.
    """
    path = folder / TOKENIZER_CONFIG
    config = read_object_if_there(path)
    if config.get("auto_map"):
        raise ExportError(
            f"{path} names Python code of its own in auto_map, which export does not run; use a tokenizer that "
            "transformers loads without trust_remote_code"
        )
    for key, plain in _TOKENIZER.items():
        if config.get(key) not in (None, plain):
            raise ExportError(
                f"{path} has {key} = {config[key]!r}, and clients read texts as with {plain!r}; use a model that was "
                "trained so, or set the key if training did not depend on it"
            )
    if named := _named_tokens(config):
        listed = read_object_if_there(folder / "tokenizer.json").get("added_tokens")
        added = {entry.get("content") for entry in listed or () if isinstance(entry, Mapping)}
        if missing := sorted(named - added):
            raise ExportError(
                f"{path} names the token {missing[0]!r}, which transformers adds to the tokenizer and tokenizer.json "
                "lacks; save the tokenizer again with transformers"
            )


def _named_tokens(config: Mapping[str, Any]) -> set[str]:
    """Return the tokens that transformers adds to a tokenizer because its tokenizer_config.json names them."""
    entries = [value for key, value in config.items() if key.endswith("_token") and not isinstance(value, bool)]
    for key in ("additional_special_tokens", "extra_special_tokens", "added_tokens_decoder"):
        listed = config.get(key) or []
        entries += listed.values() if isinstance(listed, Mapping) else listed if isinstance(listed, list) else []
    contents = (entry.get("content") if isinstance(entry, Mapping) else entry for entry in entries)
    return {content for content in contents if isinstance(content, str)}


def check_sentence_config(folder: Path, *, kind: Literal["embedding", "reranker"] = "embedding") -> None:
    """Make sure that the settings are those of a plain model of a kind.

    Raises:
        ExportError: One of them is not; the message names it.
    """
    for file, plain in (_EMBEDDING if kind == "embedding" else _RERANKER).items():
        config = read_object_if_there(folder / file)
        others = _OTHERS_KNOWN[file] | (_OTHERS_OF_RERANKERS[file] if kind == "reranker" else set())
        for key, value in config.items():
            if key in plain and value not in plain[key]:
                remedy = _REMEDIES.get(key, f"use a plain {kind}{' model' * (kind == 'embedding')} of texts")
                raise ExportError(f"{folder / file} has {key} = {value!r}, which export does not support; {remedy}")
            if key not in plain and key not in others and value is not None:
                raise ExportError(
                    f"{folder / file} has {key} = {value!r}, which export does not know; save the model with a release "
                    "of sentence-transformers up to 6, or remove the key if it changes nothing"
                )
        _check_modality(folder / file, config.get("modality_config"), kind)
    if kind == "reranker":
        template_options(folder)


def _check_modality(path: Path, modalities: object, kind: str) -> None:
    output, what = ("last_hidden_state", "last hidden states") if kind == "embedding" else ("logits", "logits")
    text = modalities.get("text") if isinstance(modalities, Mapping) else None
    if modalities is not None and text != {"method": "forward", "method_output_name": output}:
        raise ExportError(
            f"{path} has modality_config.text = {text!r}, which export does not support; use a model that reads the "
            f"{what} of texts"
        )
    # sentence-transformers 6 writes it for every tokenizer with a chat template, and then renders all texts with that.
    if kind == "embedding" and isinstance(modalities, Mapping) and "message" in modalities:
        raise ExportError(
            f"{path} has modality_config.message, with which sentence-transformers puts each text into the tokenizer's "
            "chat template and appends no end token, which export does not support; use a model trained on plain "
            "texts, saved from a tokenizer without a chat template"
        )
