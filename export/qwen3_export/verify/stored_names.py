"""The tensors in a checkpoint's files that its own library does not load: transformers only logs a warning about them.

It shares no code with export's reader of the same files, so that a mistake of that reader is found.
"""

from __future__ import annotations

import json
import re
from typing import Any

from .sentence_reference import checkpoint_file
from .source import Source

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
# The head of a language model, which no vector depends on; and tables that follow from config.json.
_WITHOUT_EFFECT = re.compile(r"lm_head\.weight|(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq")


def unused_tensors(source: Source, model: Any) -> list[str]:  # noqa: ANN401 - a module of torch
    """Return the names of the stored tensors that a loaded model does not have, without the prefix `model.`.

    Args:
        source: The checkpoint.
        model: What transformers loaded from it.
    """
    index = checkpoint_file(source, _INDEX)
    files = [_SINGLE]
    if index is not None:
        files = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    loaded = {name.removeprefix("model.") for name in model.state_dict()}
    stored: set[str] = set()
    for file in files:
        path = checkpoint_file(source, file)
        if path is not None:
            with path.open("rb") as tensors:
                # The format begins with the length of its header, 8 bytes, and the header, which is JSON.
                header = json.loads(tensors.read(int.from_bytes(tensors.read(8), "little")))
            stored |= {name.removeprefix("model.") for name in header.keys() - {"__metadata__"}}
    return sorted(name for name in stored - loaded if not _WITHOUT_EFFECT.fullmatch(name))
