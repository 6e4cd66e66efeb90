"""Small random Qwen3 checkpoints, made by transformers itself, in every form that export reads."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import safetensors.numpy
import torch
from qwen3_export.checkpoint.tiny import write_byte_tokenizer
from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3Model

OUTLIERS = np.array([50, 200, 1000], np.float32)  # how much larger some channels are


@dataclass(frozen=True, slots=True)
class Shape:
    """A tiny model's sizes and the form its checkpoint takes on disk."""

    hidden: int = 64
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    intermediate: int = 160
    tied: bool = True
    dtype: Literal["float32", "float16", "bfloat16"] = "bfloat16"
    shard_size: str = "5GB"
    prefixed: bool = True  # tensor names start with "model."


def make_checkpoint(folder: Path, shape: Shape, *, seed: int = 0) -> Path:
    """Write a checkpoint of this shape into ``folder`` and return it."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=260,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        max_position_embeddings=2048,
        rope_theta=1_000_000.0,
        tie_word_embeddings=shape.tied,
        initializer_range=0.1,
        attention_bias=False,
    )
    model = (Qwen3ForCausalLM if shape.prefixed else Qwen3Model)(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:  # gains of exactly one would hide a forgotten multiplication
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.to(getattr(torch, shape.dtype)).save_pretrained(folder, max_shard_size=shape.shard_size)
    write_byte_tokenizer(folder)
    return folder


def make_checkpoint_with_outliers(folder: Path, shape: Shape) -> Path:
    """A checkpoint of the same function, with a few channels 50 to 1000 times larger between the matrices."""
    make_checkpoint(folder, shape)
    path = folder / "model.safetensors"
    tensors = safetensors.numpy.load_file(path)
    channels = np.array([1, 17, 40])
    for name, values in tensors.items():
        if name.endswith(("input_layernorm.weight", "post_attention_layernorm.weight")):
            values[channels] *= OUTLIERS
        if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight", "gate_proj.weight", "up_proj.weight")):
            values[:, channels] /= OUTLIERS
        if name.endswith("up_proj.weight"):
            values[channels] *= OUTLIERS[:, None]
        if name.endswith("down_proj.weight"):
            values[:, channels] /= OUTLIERS
    safetensors.numpy.save_file(tensors, path)
    return folder
