"""Checkpoints of any Qwen3 shape with seeded random weights, written layer by layer.

For the demonstration model `tiny`, for tests, and for measurements at the sizes of the published models: speed and
memory do not depend on the weights' values.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import safetensors.numpy

from .geometry import Geometry

# Layers, hidden and intermediate size, heads, vocabulary, positions.
# Source: config.json of Qwen/Qwen3-Embedding-0.6B, -4B and -8B.
_PUBLISHED = {
    "0.6B": (28, 1024, 3072, 16, 151_669, 32_768),
    "4B": (36, 2560, 9728, 32, 151_665, 40_960),
    "8B": (36, 4096, 12_288, 32, 151_665, 40_960),
}
_ROWS = 8192  # rows of a matrix generated at once, which bounds the memory for the random numbers


def published_config(size: str) -> dict[str, Any]:
    """Return the content of `config.json` of a published embedding model: `0.6B`, `4B` or `8B`."""
    layers, hidden, intermediate, heads, vocabulary, positions = _PUBLISHED[size]
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "hidden_act": "silu",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": intermediate,
        "vocab_size": vocabulary,
        "max_position_embeddings": positions,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000,
        "tie_word_embeddings": size == "0.6B",
        "attention_bias": False,
        "torch_dtype": "bfloat16",
    }


def write_random_checkpoint(
    folder: Path, config: Mapping[str, Any], *, std: float = 0.02, seed: int = 0, equal_layers: bool = False
) -> None:
    """Write `config.json` and bfloat16 weights, one safetensors shard per layer. The caller adds a tokenizer.

    Args:
        folder: An existing folder.
        config: Content of `config.json`.
        std: Standard deviation of the matrices' elements. Gains of norms have mean 1 and standard deviation 0.1.
        seed: The same seed gives the same bytes.
        equal_layers: Whether all layers have the weights of the first one, which takes a fraction of the time.
    """
    geometry = Geometry.from_config(config)
    (folder / "config.json").write_text(json.dumps(dict(config), indent=2))
    random = np.random.default_rng(seed)
    weight_map: dict[str, str] = {}
    shard: dict[str, npt.NDArray[np.generic]] = {}
    for number, shapes in enumerate(shards(geometry)):
        if equal_layers and number > 1:
            shard = dict(zip(shapes, shard.values(), strict=True))
        else:
            shard = {name: _values(random, shape, std) for name, shape in shapes.items()}
        file = f"model-{number + 1:05d}-of-{geometry.layers + 1:05d}.safetensors"
        safetensors.numpy.save_file(shard, folder / file)
        weight_map |= dict.fromkeys(shapes, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def shards(g: Geometry) -> Iterator[dict[str, tuple[int, ...]]]:
    """Yield the names and shapes of each shard's tensors, named as in Qwen3-Embedding's checkpoints."""
    yield {"embed_tokens.weight": (g.vocabulary, g.hidden), "norm.weight": (g.hidden,)}
    for layer in range(g.layers):
        prefix = f"layers.{layer}."
        yield {
            f"{prefix}input_layernorm.weight": (g.hidden,),
            f"{prefix}post_attention_layernorm.weight": (g.hidden,),
            f"{prefix}self_attn.q_proj.weight": (g.heads * g.head_dim, g.hidden),
            f"{prefix}self_attn.k_proj.weight": (g.kv_heads * g.head_dim, g.hidden),
            f"{prefix}self_attn.v_proj.weight": (g.kv_heads * g.head_dim, g.hidden),
            f"{prefix}self_attn.o_proj.weight": (g.hidden, g.heads * g.head_dim),
            f"{prefix}self_attn.q_norm.weight": (g.head_dim,),
            f"{prefix}self_attn.k_norm.weight": (g.head_dim,),
            f"{prefix}mlp.gate_proj.weight": (g.intermediate, g.hidden),
            f"{prefix}mlp.up_proj.weight": (g.intermediate, g.hidden),
            f"{prefix}mlp.down_proj.weight": (g.hidden, g.intermediate),
        }


def _values(random: np.random.Generator, shape: tuple[int, ...], std: float) -> npt.NDArray[np.generic]:
    values = np.empty(shape, ml_dtypes.bfloat16)
    for start in range(0, shape[0], _ROWS):
        rows = values[start : start + _ROWS]
        normal = random.standard_normal(rows.shape, np.float32)
        rows[...] = 1 + normal / 10 if len(shape) == 1 else normal * np.float32(std)
    return values
