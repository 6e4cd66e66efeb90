"""Checkpoints as sentence-transformers writes them, and what sentence-transformers computes from them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
from support.checkpoints import Shape, make_checkpoint
from support.oracle import Ids, Vectors
from torch import nn


def make_folder(
    folder: Path,
    *,
    pooling: str = "lasttoken",
    dense: Sequence[tuple[int, nn.Module, bool]] = (),
    normalize: bool = True,
    dtype: torch.dtype = torch.float32,
    **config: Any,  # noqa: ANN401 - what JSON can hold
) -> Path:
    """Have sentence-transformers save a tiny model into ``folder`` and return it.

    Args:
        folder: Made if it is not there.
        pooling: The pooling mode.
        dense: For each dense layer its size, activation and whether it has a bias.
        normalize: Whether the last module is a Normalize.
        dtype: The type of the dense layers' weights.
        **config: What is added to the decoder's config.json.
    """
    base = make_checkpoint(folder.with_name(f"{folder.name}-base"), Shape())
    change_json(base / "config.json", **config)
    transformer = Transformer(str(base))
    modules: list[nn.Module] = [transformer, Pooling(64, pooling)]
    torch.manual_seed(1)
    size = 64
    for outputs, activation, has_bias in dense:
        modules.append(Dense(size, outputs, bias=has_bias, activation_function=activation).to(dtype))
        size = outputs
    if normalize:
        modules.append(Normalize())
    SentenceTransformer(modules=modules).save_pretrained(str(folder), create_model_card=False)
    return folder


def change_json(path: Path, **changes: Any) -> None:  # noqa: ANN401
    """Set keys of a JSON object in a file."""
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


def library_vectors(folder: Path, texts: Sequence[Ids]) -> Vectors:
    """What sentence-transformers makes of each text alone, in float32. Returns ``[n, dimensions]``."""
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32}).float().eval()
    rows = []
    with torch.inference_mode():
        for ids in texts:
            row = torch.from_numpy(ids)[None]
            rows.append(model({"input_ids": row, "attention_mask": torch.ones_like(row)})["sentence_embedding"][0])
    return np.stack([row.numpy() for row in rows])
