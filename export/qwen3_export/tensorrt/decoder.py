"""transformers' own Qwen3 decoder, filled from a checkpoint and made fit for tracing.

Three of its parts are replaced, none of which changes what it computes in float32:

- attention, by one that scales queries before their product with keys, which is where TensorRT looks for it;
- the rotary embedding's product with the positions, by a multiplication: a matrix product in TF32 would round the
  positions themselves;
- in half precisions the linear maps, by ones that take and give float32. Residual stream, norms and rotary embedding
  stay in float32, as in the packed graph: an 8B model in plain float16 overflows.

Knows nothing about pooling, heads or ONNX.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, Qwen3Config, Qwen3Model
from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention

from ..checkpoint.checkpoint import Checkpoint
from ..checkpoint.geometry import Geometry
from ..checkpoint.stored_tensor import StoredTensor
from ..precision import Precision

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

_ATTENTION = "qwen3_portable"


def build_decoder(checkpoint: Checkpoint, precision: Precision) -> Qwen3Model:
    """Make the decoder of a checkpoint, ready to be traced.

    Args:
        checkpoint: The weights.
        precision: `fp32`, `bf16` or `fp16`: what products and attention compute in.

    Raises:
        ExportError: A weight is missing or has the wrong shape.
    """
    AttentionInterface.register(_ATTENTION, _attend)
    config = _config(checkpoint.geometry)
    with torch.device("meta"):  # shapes only: the weights come from the checkpoint, one by one
        decoder = Qwen3Model(config)
    dtype = DTYPES[precision]
    for name, parameter in list(decoder.named_parameters()):
        stored = checkpoint.tensor(name, *parameter.shape)
        owner, _, attribute = name.rpartition(".")
        weight = nn.Parameter(load(stored, _stored_type(stored, dtype)), requires_grad=False)
        setattr(decoder.get_submodule(owner), attribute, weight)
    decoder.embed_tokens = Embedding(decoder.embed_tokens.weight)
    decoder.rotary_emb = Rotary(checkpoint.geometry)
    if dtype != torch.float32:
        for layer in decoder.layers:
            for block in (layer.self_attn, layer.mlp):
                for name, child in list(block.named_children()):
                    if isinstance(child, nn.Linear):
                        setattr(block, name, HalfLinear(child.weight))
    return decoder.eval()


def load(stored: StoredTensor, dtype: torch.dtype) -> Tensor:
    """Read one tensor of a checkpoint into memory, as `dtype`."""
    values = np.array(stored.map())  # a copy: torch wants memory that it may write to
    if stored.dtype.name == "bfloat16":  # which torch does not take from numpy
        return torch.from_numpy(values.view(np.int16)).view(torch.bfloat16).to(dtype)
    return torch.from_numpy(values).to(dtype)


class Embedding(nn.Module):
    """The embedding table, in whatever type it is stored; its rows as float32."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Look up `input_ids [batch, seq]`; float32 `[batch, seq, hidden]`."""
        return nn.functional.embedding(input_ids, self.weight).float()


class HalfLinear(nn.Module):
    """A linear map that computes in the type of its weight, from and to float32."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map `x [..., in]` to `[..., out]`."""
        return nn.functional.linear(x.to(self.weight.dtype), self.weight).float()


class Rotary(nn.Module):
    """Cosine and sine of each position, in float32."""

    frequencies: Tensor

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        # As transformers computes it, to the last bit.
        exponents = torch.arange(0, geometry.head_dim, 2, dtype=torch.int64).float() / geometry.head_dim
        self.register_buffer("frequencies", 1.0 / geometry.rope_theta**exponents, persistent=False)

    def forward(self, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002 - transformers' call
        """Turn float32 `position_ids [batch, seq]` into two tables `[batch, seq, head_dim]`."""
        angles = position_ids[..., None] * self.frequencies
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos(), angles.sin()


def _attend(
    module: Qwen3Attention,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    *,
    scaling: float,
    **_: object,  # what transformers offers to every attention: dropout, a sliding window, a cache's positions
) -> tuple[Tensor, None]:
    """Attention in the type of the block's weights, as transformers' interface asks for it.

    Args:
        module: The attention block.
        query: `[batch, heads, seq, head_dim]`.
        key: `[batch, kv_heads, seq, head_dim]`.
        value: As `key`.
        attention_mask: Added to the scores; float32 `[batch, 1, seq, seq]`.
        scaling: Of the scores.

    Returns:
        `[batch, seq, heads, head_dim]`, and no weights.
    """
    dtype: torch.dtype = module.o_proj.weight.dtype
    groups = query.shape[1] // key.shape[1]
    query = (query * scaling).to(dtype)
    key, value = (_repeated(x.to(dtype), groups) for x in (key, value))
    scores = query @ key.transpose(2, 3) + attention_mask.to(dtype)
    return (scores.softmax(dim=-1) @ value).transpose(1, 2), None


def _repeated(x: Tensor, groups: int) -> Tensor:
    """Each key/value head `groups` times: `[batch, kv_heads * groups, seq, head_dim]`."""
    if groups == 1:
        return x
    return x[:, :, None].expand(-1, -1, groups, -1, -1).flatten(1, 2)


def _stored_type(stored: StoredTensor, dtype: torch.dtype) -> torch.dtype:
    """The type that a weight gets in the graph."""
    if len(stored.shape) == 1:  # a norm's gain
        return torch.float32
    if stored.name.endswith("embed_tokens.weight"):
        # bfloat16 as it is, half the size and exact, where the graph needs such a GPU anyway; else float32, exact too.
        return torch.bfloat16 if dtype == torch.bfloat16 == _torch_type(stored) else torch.float32
    return dtype


def _torch_type(stored: StoredTensor) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, stored.dtype.name)
    return dtype


def _config(g: Geometry) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=g.vocabulary,
        hidden_size=g.hidden,
        intermediate_size=g.intermediate,
        num_hidden_layers=g.layers,
        num_attention_heads=g.heads,
        num_key_value_heads=g.kv_heads,
        head_dim=g.head_dim,
        max_position_embeddings=g.max_positions,
        rms_norm_eps=g.rms_eps,
        rope_theta=g.rope_theta,
        attention_bias=False,
        use_sliding_window=False,
        use_cache=False,
        attn_implementation=_ATTENTION,
    )
