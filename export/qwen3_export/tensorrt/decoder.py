"""transformers' own Qwen3 decoder with the weights of a checkpoint, changed so that it can be traced.

Three of its parts are replaced. None of the changes alters the result in float32:

- Attention is one operator, causal and with grouped heads, which `traced_graph` makes ONNX's own of.
- The rotary embedding multiplies positions by frequencies element by element. transformers uses a matrix product, which
  in TF32 would round the positions.
- In half precisions, linear maps convert from and to float32. The residual stream, the norms and the rotary embedding
  stay in float32, as in the packed graph, because an 8B model in plain float16 overflows.

Knows nothing about pooling, outputs or ONNX.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Graph, Tensor, Value, nn
from transformers import AttentionInterface, Qwen3Config, Qwen3Model
from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention

from ..checkpoint.checkpoint import Checkpoint
from ..checkpoint.geometry import Geometry
from ..checkpoint.stored_tensor import StoredTensor
from ..precision import Precision

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

TRACED = "qwen3_traced"  # the domain of operators that torch's tracer does not know

_ATTENTION = "qwen3_portable"


def build_decoder(checkpoint: Checkpoint, precision: Precision) -> Qwen3Model:
    """Build the decoder of a checkpoint, ready to be traced.

    Args:
        checkpoint: The weights.
        precision: The type that products and attention compute in: `fp32`, `bf16` or `fp16`.

    Raises:
        ExportError: A weight is missing or has the wrong shape.
    """
    AttentionInterface.register(_ATTENTION, _attend)
    config = _config(checkpoint.geometry)
    with torch.device("meta"):  # shapes only; the weights are read from the checkpoint one by one
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
    values = np.array(stored.values())  # a copy, because torch needs memory that it may write to
    if stored.dtype.name == "bfloat16":  # torch does not take numpy arrays of bfloat16
        return torch.from_numpy(values.view(np.int16)).view(torch.bfloat16).to(dtype)
    return torch.from_numpy(values).to(dtype)


class Embedding(nn.Module):
    """The embedding table, in the type in which it is stored; the embeddings are float32."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Return the embeddings of `input_ids [batch, seq]`, float32 `[batch, seq, hidden]`."""
        return nn.functional.embedding(input_ids, self.weight).float()


class HalfLinear(nn.Module):
    """A linear map that computes in the type of its weights; its input and output are float32."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map `x [..., in]` to `[..., out]`, both float32."""
        return nn.functional.linear(x.to(self.weight.dtype), self.weight).float()


class Rotary(nn.Module):
    """Cosine and sine of each position, in float32."""

    frequencies: Tensor

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        # The same steps as in transformers, so that the bits are the same.
        exponents = torch.arange(0, geometry.head_dim, 2, dtype=torch.int64).float() / geometry.head_dim
        self.register_buffer("frequencies", 1.0 / geometry.rope.theta**exponents, persistent=False)

    def forward(self, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002 - transformers' call
        """Return cosines and sines `[batch, seq, head_dim]` for float32 `position_ids [batch, seq]`."""
        angles = position_ids[..., None] * self.frequencies
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos(), angles.sin()


def _attend(
    module: Qwen3Attention,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,  # noqa: ARG001 - transformers' call
    *,
    scaling: float,
    **_: object,  # what transformers passes to every attention: dropout, a sliding window, positions in a cache
) -> tuple[Tensor, None]:
    """Attend, in the type of the block's weights, with the signature of transformers' `AttentionInterface`.

    Args:
        module: The attention block.
        query: `[batch, heads, seq, head_dim]`.
        key: `[batch, kv_heads, seq, head_dim]`.
        value: `[batch, kv_heads, seq, head_dim]`.
        attention_mask: None: padding comes after all tokens.
        scaling: The factor of the scores.

    Returns:
        The attended values, `[batch, seq, heads, head_dim]`, and None instead of the attention weights.
    """
    dtype: torch.dtype = module.o_proj.weight.dtype
    attended: Tensor = CausalAttention.apply(query.to(dtype), key.to(dtype), value.to(dtype), scaling)  # type: ignore[no-untyped-call]
    return attended.transpose(1, 2), None


class CausalAttention(torch.autograd.Function):
    """Causal attention with grouped heads, traced as one operator.

    torch's tracer knows operators up to opset 20, and Attention came with 23. So it is traced as an operator of the
    domain `TRACED`, with the attributes of ONNX's.
    """

    @staticmethod
    def forward(_context: object, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Attend: `[batch, heads, seq, head_dim]`."""
        # Written out, because Optimum replaces scaled_dot_product_attention by a form without grouped heads.
        groups = query.shape[1] // key.shape[1]
        keys, values = (x.repeat_interleave(groups, dim=1) for x in (key, value))
        scores = query @ keys.transpose(2, 3) * scale
        later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(diagonal=1)
        return scores.masked_fill(later, -torch.inf).softmax(dim=-1) @ values

    @staticmethod
    def symbolic(graph: Graph, query: Value, key: Value, value: Value, scale: float) -> Value:
        """Return the operator that the tracer writes."""
        attended: Value = graph.op(f"{TRACED}::Attention", query, key, value, is_causal_i=1, scale_f=scale)  # type: ignore[attr-defined]
        attended.setType(query.type())
        return attended


def _stored_type(stored: StoredTensor, dtype: torch.dtype) -> torch.dtype:
    """Return the type that a weight gets in the graph."""
    if len(stored.shape) == 1:  # a norm's gain
        return torch.float32
    if stored.name.endswith("embed_tokens.weight"):
        # Both types are exact. bfloat16 has half the size, but only a graph in bf16 needs a GPU with bfloat16 anyway.
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
        rope_theta=g.rope.theta,
        attention_bias=False,
        use_sliding_window=False,
        use_cache=False,
        attn_implementation=_ATTENTION,
    )
