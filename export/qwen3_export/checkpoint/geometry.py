"""The sizes of a Qwen3 model, read from its config.json.

Nothing is derived that config.json states: `head_dim` is not `hidden_size / heads` in this family, and the input
embeddings may or may not be tied to lm_head. Knows nothing about weights or graphs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ExportError
from .config_keys import check_keys
from .rope import Rope, read_rope

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
    rope: Rope
    tied: bool
    is_causal: bool = True

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Geometry:
        """Read a transformers `config.json`.

        Raises:
            ExportError: It is not a plain Qwen3 decoder; the message names the field.
        """
        check_keys(config)
        # Null stands for a missing key, whose default in transformers is not what any published model has.
        config = {key: value for key, value in config.items() if value is not None}
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
                rope=read_rope(config),
                tied=bool(config.get("tie_word_embeddings", False)),
                is_causal=_is_causal(config),
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
        _check_windows(config, geometry)
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


def _is_causal(config: Mapping[str, Any]) -> bool:
    """Return whether a token attends only to itself and those before it.

    Raises:
        ExportError: The two keys for it contradict each other.
    """
    is_causal, is_bidirectional = config.get("is_causal"), config.get("use_bidirectional_attention")
    if is_causal is not None and is_bidirectional is not None and bool(is_causal) == bool(is_bidirectional):
        raise ExportError(
            f"config.json has is_causal = {is_causal!r} and use_bidirectional_attention = {is_bidirectional!r}, which "
            "contradict each other; use the file that came with the checkpoint"
        )
    return not is_bidirectional if is_causal is None else bool(is_causal)


def _check_windows(config: Mapping[str, Any], geometry: Geometry) -> None:
    """Make sure that every layer attends to the whole text.

    Raises:
        ExportError: Some layers attend to a window of it.
    """
    window = config.get("sliding_window") if config.get("use_sliding_window") else None
    layer_types = config.get("layer_types")
    if layer_types is None:
        # Source: transformers' Qwen3Config, whose default of max_window_layers is 28.
        windowed = geometry.layers > config.get("max_window_layers", 28) and window is not None
        layer_types = ["sliding_attention" if windowed else "full_attention"]
    for layer_type in layer_types:
        if layer_type != "full_attention" and (window is None or window < geometry.max_tokens):
            raise ExportError(
                f"config.json has layers with {layer_type} and sliding_window = {window}, which export does not "
                "support; use a model whose layers all attend to the whole text"
            )
