"""Small random Qwen3 checkpoints, made by transformers itself, in every form that export reads."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from qwen3_export._tiny import write_byte_tokenizer
from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3Model


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
