"""The reference for folders with a modules.json: sentence-transformers itself, with its own pooling and dense layers.

The only module of verify that imports sentence-transformers. It shares no code with export's reader of the same files,
so that a mistake of that reader is found.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers
from transformers.utils import cached_file

from .errors import VerifyError
from .source import Source


def has_modules(source: Source) -> bool:
    """Whether a checkpoint is a folder of sentence-transformers."""
    return checkpoint_file(source, "modules.json") is not None


def longest_text(source: Source) -> int:
    """Return the number of tokens to which sentence-transformers cuts a text."""
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(source.name_or_path, revision=source.revision)
    settings = checkpoint_file(source, "sentence_bert_config.json")
    stated = None if settings is None else json.loads(settings.read_text("utf-8")).get("max_seq_length")
    return min(int(tokenizer.model_max_length), int(stated or tokenizer.model_max_length))


def saved_prompts(source: Source) -> dict[str, str]:
    """Return what `encode_query` and `encode_document` put before a text, under `query` and `document`."""
    saved = checkpoint_file(source, "config_sentence_transformers.json")
    settings = {} if saved is None else json.loads(saved.read_text("utf-8"))
    prompts = settings.get("prompts") or {}
    # The default prompt is for `encode` alone: the library has an empty prompt of either name if none is saved.
    return {kind: prompts.get(kind) or "" for kind in ("query", "document")}


def load_sentence_model(source: Source, config: transformers.PretrainedConfig) -> Any:  # noqa: ANN401
    """Load all modules in float32 on the CPU.

    Args:
        source: The checkpoint.
        config: Its config.json, as transformers reads it.

    Raises:
        VerifyError: sentence-transformers is not installed.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ModuleNotFoundError:
        raise VerifyError(
            f"{source.name_or_path} is a folder of sentence-transformers, which is needed to compare with it: "
            "pip install 'qwen3-triton[verify]'"
        ) from None
    model = SentenceTransformer(
        source.name_or_path,
        revision=source.revision,
        device="cpu",
        model_kwargs={"dtype": torch.float32},
    )
    if getattr(config, "use_bidirectional_attention", False):
        # Of the two names of full attention, transformers' Qwen3 knows only the other, and would attend causally.
        model[0].auto_model.config.is_causal = False
    return model.float().eval()


def sentence_vector(model: Any, ids: torch.Tensor) -> npt.NDArray[np.float32]:  # noqa: ANN401
    """Return the vector of one text, `[dimensions]`, from its token ids, `[1, tokens]`."""
    vector: npt.NDArray[np.float32] = model({"input_ids": ids, "attention_mask": torch.ones_like(ids)})[
        "sentence_embedding"
    ][0].numpy()
    return vector


def read_ids(model: Any, text: str, *, prompt: str) -> list[int]:  # noqa: ANN401
    """Return the token ids that the model reads for a text after a prompt, truncated to its longest text."""
    ids: list[int] = model.preprocess([text], prompt=prompt)["input_ids"][0].tolist()
    return ids


def checkpoint_file(source: Source, name: str) -> Path | None:
    """Return a file of a checkpoint, downloaded if need be; None if it has none of this name."""
    found = cached_file(
        source.name_or_path,
        name,
        revision=source.revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_gated_repo=False,
    )
    return None if found is None else Path(found)
