"""The attention block of a layer: projections around the form of attention that the target has."""

from __future__ import annotations

import onnx_ir as ir
from onnxscript import OpBuilder, nn

from ..checkpoint.checkpoint import Checkpoint
from .arithmetic import Arithmetic
from .attention_inputs import AttentionInputs
from .full_attention import FullAttention
from .norms import Gain, RMSNorm
from .padded_attention import PaddedAttention
from .paged_attention import PagedAttention
from .products import Scaled
from .ragged_attention import RaggedAttention

AttentionForm = PaddedAttention | RaggedAttention | PagedAttention | FullAttention


class Attention(nn.Module):
    """Grouped-query attention within each text.

    Args:
        checkpoint: The weights.
        prefix: What the names of this block's tensors begin with.
        arithmetic: What to compute in.
        norms_inside: Whether the attention operator normalises queries and keys itself.
        side_by_side: Whether an operator that does takes queries, keys and values side by side.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        prefix: str,
        arithmetic: Arithmetic,
        *,
        norms_inside: bool,
        side_by_side: bool,
    ) -> None:
        super().__init__()
        g = self.geometry = checkpoint.geometry
        self.arithmetic, self.norms_inside = arithmetic, norms_inside
        self.side_by_side = norms_inside and side_by_side
        query_size, key_size = g.heads * g.head_dim, g.kv_heads * g.head_dim
        self.qkv_proj = (arithmetic.joined_product if self.side_by_side else arithmetic.products)(
            checkpoint.tensor(f"{prefix}.q_proj.weight", query_size, g.hidden),
            checkpoint.tensor(f"{prefix}.k_proj.weight", key_size, g.hidden),
            checkpoint.tensor(f"{prefix}.v_proj.weight", key_size, g.hidden),
        )
        # In a half precision the norms take and return that type and compute in float32 inside, as transformers does.
        norm = Gain if norms_inside else RMSNorm
        q_gain = checkpoint.tensor(f"{prefix}.q_norm.weight", g.head_dim)
        k_gain = checkpoint.tensor(f"{prefix}.k_norm.weight", g.head_dim)
        self.q_norm = norm(q_gain, eps=g.rms_eps, dtype=arithmetic.dtype)
        self.k_norm = norm(k_gain, eps=g.rms_eps, dtype=arithmetic.dtype)
        self.o_proj = arithmetic.products(checkpoint.tensor(f"{prefix}.o_proj.weight", g.hidden, query_size))

    def forward(self, op: OpBuilder, x: ir.Value, attention: AttentionForm, *, pooled_only: bool) -> ir.Value:
        """Attend.

        Args:
            op: Builder of the graph.
            x: Normalised hidden states `[rows, hidden]`, in the type of the residual stream.
            attention: The form of attention, with this batch's indices.
            pooled_only: Whether only each text's pooled row is wanted.

        Returns:
            `[rows, hidden]`, or `[batch, hidden]` if `pooled_only`, in the same type.
        """
        attended = attention.attend(op, self._inputs(op, self.arithmetic.enter(op, x)), pooled_only=pooled_only)
        (output,) = self.o_proj(op, Scaled(attended))
        return self.arithmetic.leave(op, output.multiplied(op))

    def _inputs(self, op: OpBuilder, x: ir.Value) -> AttentionInputs:
        g = self.geometry
        if self.side_by_side:
            return AttentionInputs(self.qkv_proj(op, x), gains=(self.q_norm(op), self.k_norm(op)), eps=g.rms_eps)
        query_size, key_size = g.heads * g.head_dim, g.kv_heads * g.head_dim
        q, k, v = self.qkv_proj(op, Scaled(x))
        # A norm cancels a factor that a whole row has, so queries and keys need not be multiplied by their row scales.
        # It does not cancel it in eps, but eps is only 1e-6.
        if self.norms_inside:
            gains = (self.q_norm(op), self.k_norm(op))
            return AttentionInputs(q.value, k.value, v.multiplied(op), gains=gains, eps=g.rms_eps)
        return AttentionInputs(
            op.Reshape(self.q_norm(op, op.Reshape(q.value, [-1, g.heads, g.head_dim])), [-1, query_size]),
            op.Reshape(self.k_norm(op, op.Reshape(k.value, [-1, g.kv_heads, g.head_dim])), [-1, key_size]),
            v.multiplied(op),
        )
