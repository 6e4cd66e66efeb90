"""What sentence-transformers does to a text before the decoder reads it: the settings beside modules.json.

Knows nothing about modules, which `modules` reads, and nothing about prompts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ExportError
from .json_file import read_object_if_there

TRANSFORMER_CONFIG = "sentence_bert_config.json"  # the name does not depend on the model
MODEL_CONFIG = "config_sentence_transformers.json"

# Keys of which some values are a plain embedding model, and every other one a refusal. None stands for a missing key.
_PLAIN: Mapping[str, Mapping[str, tuple[object, ...]]] = {
    TRANSFORMER_CONFIG: {
        "config_args": (None, {}),
        "do_lower_case": (None, False),
        "document_length": (None,),
        "model_args": (None, {}),
        "module_output_name": (None, "token_embeddings"),
        "processing_kwargs": (None, {}),
        "query_expansion": (None, False),
        "query_length": (None,),
        "tokenizer_args": (None, {}),
        "transformer_task": (None, "feature-extraction"),
    },
    MODEL_CONFIG: {"model_type": (None, "SentenceTransformer"), "truncate_dim": (None,)},
}
_OTHERS_KNOWN = {
    # Padding changes nothing, and other modalities than text are never asked for.
    TRANSFORMER_CONFIG: {"max_seq_length", "modality_config", "unpad_inputs"},
    # Versions; how users compare vectors; and prompts, which are not the decoder's business.
    MODEL_CONFIG: {"__version__", "default_prompt_name", "prompts", "similarity_fn_name"},
}
_REMEDIES = {
    "truncate_dim": "remove the key, and ask the client for `dimensions`",
    "do_lower_case": "bring a model that reads texts as they are",
}


def longest_text(folder: Path) -> int | None:
    """Return the number of tokens to which sentence-transformers cuts a text; None if it states none.

    Up to release 5 it was in a file of its own; release 6 keeps it with the tokenizer.

    Raises:
        ExportError: A file cannot be read.
    """
    stated = [
        read_object_if_there(folder / file).get(key)
        for file, key in ((TRANSFORMER_CONFIG, "max_seq_length"), ("tokenizer_config.json", "model_max_length"))
    ]
    return min((int(length) for length in stated if length), default=None)


def check_sentence_config(folder: Path) -> None:
    """Make sure that the settings are those of a plain embedding model.

    Raises:
        ExportError: One of them is not; the message names it.
    """
    for file, plain in _PLAIN.items():
        config = read_object_if_there(folder / file)
        for key, value in config.items():
            if key in plain and value not in plain[key]:
                remedy = _REMEDIES.get(key, "bring a plain embedding model of texts")
                raise ExportError(f"{folder / file} has {key} = {value!r}, which export does not support; {remedy}")
            if key not in plain and key not in _OTHERS_KNOWN[file] and value is not None:
                raise ExportError(
                    f"{folder / file} has {key} = {value!r}, which export does not know; save the model with a release "
                    "of sentence-transformers up to 6, or remove the key if it changes nothing"
                )
        _check_modality(folder / file, config.get("modality_config"))


def _check_modality(path: Path, modalities: Mapping[str, Any] | None) -> None:
    text = {"method": "forward", "method_output_name": "last_hidden_state"}
    if modalities is not None and modalities.get("text") != text:
        raise ExportError(
            f"{path} has modality_config.text = {modalities.get('text')!r}, which export does not support; bring a "
            "model that reads the last hidden states of texts"
        )
