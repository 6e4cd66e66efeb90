"""The sizes of a Qwen3 model, read from its config.json.

Nothing is derived that config.json states: `head_dim` is not `hidden_size / heads` in this family, and the input
embeddings may or may not be tied to lm_head. Knows nothing about weights or graphs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ExportError

ADVERTISED_CONTEXT = 32_768  # tokens; the model cards' "Context Length: 32k"


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes of one Qwen3 decoder, in elements; `max_positions` in tokens."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    max_positions: int
    rms_eps: float
    rope_theta: float
    tied: bool
    is_causal: bool = True

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Geometry:
        """Read a transformers `config.json`.

        Raises:
            ExportError: It is not a plain Qwen3 decoder; the message names the field.
        """
        expected = {
            "model_type": ("qwen3",),
            "hidden_act": ("silu",),
            "attention_bias": (False, None),
            "use_sliding_window": (False, None),
            "quantization_config": (None,),
        }
        for field, allowed in expected.items():
            if config.get(field) not in allowed:
                raise ExportError(
                    f"config.json has {field} = {config.get(field)!r}; this exporter takes Qwen3-Embedding and "
                    f"Qwen3-Reranker models, where it is {allowed[0]!r}"
                )
        # transformers 5 writes rope_parameters; earlier releases write rope_theta and rope_scaling.
        rope = config.get("rope_parameters") or {}
        scaling = config.get("rope_scaling") or rope
        kind = scaling.get("rope_type", scaling.get("type", "default"))
        if kind != "default":
            raise ExportError(f"config.json asks for {kind!r} rope scaling; only 'default' is supported")
        try:
            geometry = cls(
                hidden=config["hidden_size"],
                layers=config["num_hidden_layers"],
                heads=config["num_attention_heads"],
                kv_heads=config["num_key_value_heads"],
                head_dim=config["head_dim"],
                intermediate=config["intermediate_size"],
                vocabulary=config["vocab_size"],
                max_positions=config["max_position_embeddings"],
                rms_eps=config["rms_norm_eps"],
                rope_theta=float(rope["rope_theta"] if rope else config["rope_theta"]),
                tied=bool(config.get("tie_word_embeddings", False)),
                is_causal=bool(config.get("is_causal", True)) and not config.get("use_bidirectional_attention", False),
            )
        except KeyError as error:
            raise ExportError(f"config.json lacks {error}; use the file that came with the checkpoint") from None
        if geometry.heads % geometry.kv_heads:
            raise ExportError(
                f"config.json has {geometry.heads} attention heads, which {geometry.kv_heads} key/value heads cannot "
                "serve in groups of equal size"
            )
        if geometry.head_dim % 16:
            raise ExportError(
                f"config.json has head_dim = {geometry.head_dim}; ONNX Runtime's attention needs a multiple of 16"
            )
        return geometry

    @property
    def max_tokens(self) -> int:
        """Longest text in tokens: the advertised context, or `max_positions` if that is less."""
        return min(self.max_positions, ADVERTISED_CONTEXT)

    @property
    def parameters(self) -> int:
        """Number of parameters of the decoder, including the embedding table, without a separate lm_head."""
        attention = self.hidden * self.head_dim * 2 * (self.heads + self.kv_heads) + 2 * self.head_dim
        mlp = 3 * self.hidden * self.intermediate
        return (self.vocabulary + 1 + 2 * self.layers) * self.hidden + self.layers * (attention + mlp)

    @property
    def size(self) -> str:
        """The number of parameters as in the published models' names, such as `0.6B`."""
        if self.parameters >= 50_000_000:
            return f"{self.parameters / 1e9:.1f}B".replace(".0B", "B")
        return f"{self.parameters / 1e3:.0f}K"
