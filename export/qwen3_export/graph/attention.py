"""The attention block of a layer: projections around whichever attention the target has."""

from __future__ import annotations

import onnx_ir as ir
from onnxscript import OpBuilder, nn

from ..checkpoint.checkpoint import Checkpoint
from .arithmetic import Arithmetic
from .heads import Heads
from .norms import Gain, RMSNorm
from .padded_attention import PaddedAttention
from .paged_attention import PagedAttention
from .products import Scaled, SideBySide

AttentionBatch = PaddedAttention | PagedAttention


class Attention(nn.Module):
    """Causal grouped-query attention within each text.

    Args:
        checkpoint: The weights.
        prefix: Where they are named.
        arithmetic: What to compute in.
        norms_inside: Whether the attention operator normalises queries and keys itself.
    """

    def __init__(self, checkpoint: Checkpoint, prefix: str, arithmetic: Arithmetic, *, norms_inside: bool) -> None:
        super().__init__()
        g = self.geometry = checkpoint.geometry
        self.arithmetic, self.norms_inside = arithmetic, norms_inside
        queries, keys = g.heads * g.head_dim, g.kv_heads * g.head_dim
        self.qkv_proj = arithmetic.products(
            checkpoint.tensor(f"{prefix}.q_proj.weight", queries, g.hidden),
            checkpoint.tensor(f"{prefix}.k_proj.weight", keys, g.hidden),
            checkpoint.tensor(f"{prefix}.v_proj.weight", keys, g.hidden),
        )
        # Half-precision queries and keys are normalised as they are, as transformers does it: float32 is inside.
        norm = Gain if norms_inside else RMSNorm
        q_gain = checkpoint.tensor(f"{prefix}.q_norm.weight", g.head_dim)
        k_gain = checkpoint.tensor(f"{prefix}.k_norm.weight", g.head_dim)
        self.q_norm = norm(q_gain, eps=g.rms_eps, dtype=arithmetic.dtype)
        self.k_norm = norm(k_gain, eps=g.rms_eps, dtype=arithmetic.dtype)
        self.o_proj = arithmetic.products(checkpoint.tensor(f"{prefix}.o_proj.weight", g.hidden, queries))

    def forward(self, op: OpBuilder, x: ir.Value, batch: AttentionBatch, *, last_only: bool) -> ir.Value:
        """Attend.

        Args:
            op: Builder of the graph.
            x: Normalised hidden states `[rows, hidden]`, float32.
            batch: Where each text's rows lie, and the operator that attends.
            last_only: Whether only each text's last row is wanted.

        Returns:
            Float32 `[rows, hidden]`, or `[batch, hidden]`.
        """
        attended = batch.attend(op, self._heads(op, self.arithmetic.enter(op, x)), last_only=last_only)
        (output,) = self.o_proj(op, Scaled(attended))
        return self.arithmetic.leave(op, output.multiplied(op))

    def _heads(self, op: OpBuilder, x: ir.Value) -> Heads:
        g = self.geometry
        if self.norms_inside:
            assert isinstance(self.qkv_proj, SideBySide)  # noqa: S101 - the operator exists for half precisions only
            return Heads(self.qkv_proj.joined(op, Scaled(x)), gains=(self.q_norm(op), self.k_norm(op)), eps=g.rms_eps)
        queries, keys = g.heads * g.head_dim, g.kv_heads * g.head_dim
        q, k, v = self.qkv_proj(op, Scaled(x))
        # The norms undo the rows' scales, which are therefore left out; eps, a millionth, is all that they would shift.
        return Heads(
            op.Reshape(self.q_norm(op, op.Reshape(q.value, [-1, g.heads, g.head_dim])), [-1, queries]),
            op.Reshape(self.k_norm(op, op.Reshape(k.value, [-1, g.kv_heads, g.head_dim])), [-1, keys]),
            v.multiplied(op),
        )
