"""Qwen3-Embedding and Qwen3-Reranker as ONNX graphs over concatenated texts, declared like torch modules.

Read from the bottom: ``EmbeddingModel`` and ``RerankerModel`` are two heads on one ``Decoder``. Every value between
attention blocks is ``[rows, ...]`` over all texts of the batch; only ``Attention`` knows where one text ends and the
next begins.

The arithmetic follows transformers' ``modeling_qwen3.py``: per-head RMSNorm of queries and keys before the rotary
embedding, no biases, SwiGLU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnxscript import OpBuilder, nn

from ._checkpoint import Checkpoint
from ._geometry import Geometry
from ._precision import Precision
from ._products import HALF, MICROSOFT, Product, product
from ._ragged import RaggedBatch, ragged_batch
from ._safetensors import StoredTensor


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """What products and attention compute in; everything else is float32.

    Attributes:
        precision: As exported.
        emulated: Round to a half precision where it would be used, but compute in float32, for a processor that
            lacks the kernels. Tests compare with it what they cannot run.
    """

    precision: Precision
    emulated: bool = False

    def product(self, *parts: StoredTensor) -> Product:
        """A product of matrices side by side."""
        return product(self.precision, *parts, emulated=self.emulated)

    def enter(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        """From float32 to the type that attention takes."""
        if self.precision not in HALF:
            return x
        x = op.Cast(x, to=HALF[self.precision])
        return op.Cast(x, to=ir.DataType.FLOAT) if self.emulated else x

    def leave(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        """Back to float32."""
        if self.precision not in HALF:
            return x
        x = op.Cast(x, to=HALF[self.precision]) if self.emulated else x
        return op.Cast(x, to=ir.DataType.FLOAT)


class _Gain(nn.Module):
    """The learned gain of a normalisation, float32 ``[size]``."""

    def __init__(self, gain: StoredTensor, *, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(
            list(gain.shape),
            data=ir.LazyTensor(
                lambda: ir.Tensor(gain.map().astype(np.float32)), ir.DataType.FLOAT, ir.Shape(gain.shape)
            ),
        )


class RMSNorm(_Gain):
    """Root-mean-square normalisation of the last axis, times a learned gain."""

    def forward(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        """Normalise ``x [..., size]``."""
        return op.RMSNormalization(x, self.weight, axis=-1, epsilon=self.eps)


class AddRMSNorm(_Gain):
    """Add a block's output to the residual stream and normalise the sum, in one operator."""

    def forward(self, op: OpBuilder, residual: ir.Value, block: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Return the normalised sum and the sum itself, both ``[rows, hidden]``."""
        normed, _mean, _inverse, total = op.SkipSimplifiedLayerNormalization(
            residual, block, self.weight, epsilon=self.eps, _domain=MICROSOFT, _version=1, _outputs=4
        )
        return normed, total


class Rotary(nn.Module):
    """The tables of the rotary position embedding: cosine and sine ``[max_tokens + 1, head_dim / 2]``."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        # float32 throughout, as transformers computes it, so that long texts agree too.
        exponents = np.arange(0, geometry.head_dim, 2, dtype=np.float32) / np.float32(geometry.head_dim)
        frequencies = np.float32(1) / np.float32(geometry.rope_theta) ** exponents
        positions = np.arange(geometry.max_tokens + 1, dtype=np.float32)  # one for the spare slot, see _ragged
        angles = positions[:, None] * frequencies
        self.cos = _table(np.cos(angles))
        self.sin = _table(np.sin(angles))

    def forward(self, op: OpBuilder) -> tuple[ir.Value, ir.Value]:  # noqa: ARG002  - the builder registers the tables
        """The two tables."""
        return self.cos, self.sin


class Attention(nn.Module):
    """Causal grouped-query attention within each text.

    The rotary embedding happens inside GroupQueryAttention, by each row's place in its own text.
    """

    def __init__(self, checkpoint: Checkpoint, prefix: str, arithmetic: Arithmetic) -> None:
        super().__init__()
        g = self.geometry = checkpoint.geometry
        self.arithmetic = arithmetic
        queries, keys = g.heads * g.head_dim, g.kv_heads * g.head_dim
        self.qkv_proj = arithmetic.product(
            checkpoint.tensor(f"{prefix}.q_proj.weight", queries, g.hidden),
            checkpoint.tensor(f"{prefix}.k_proj.weight", keys, g.hidden),
            checkpoint.tensor(f"{prefix}.v_proj.weight", keys, g.hidden),
        )
        self.q_norm = RMSNorm(checkpoint.tensor(f"{prefix}.q_norm.weight", g.head_dim), eps=g.rms_eps)
        self.k_norm = RMSNorm(checkpoint.tensor(f"{prefix}.k_norm.weight", g.head_dim), eps=g.rms_eps)
        self.o_proj = arithmetic.product(checkpoint.tensor(f"{prefix}.o_proj.weight", g.hidden, queries))

    def forward(
        self,
        op: OpBuilder,
        x: ir.Value,
        batch: RaggedBatch,
        rotary: tuple[ir.Value, ir.Value],
        wanted: ir.Value,
    ) -> ir.Value:
        """Attend.

        Args:
            op: Builder of the graph.
            x: Normalised hidden states ``[tokens, hidden]``.
            batch: Where each text's rows lie.
            rotary: Cosine and sine tables.
            wanted: INT64 ``[rows]``: slots of the rectangle whose result is used.

        Returns:
            ``[rows, hidden]``.
        """
        g = self.geometry
        queries, keys = g.heads * g.head_dim, g.kv_heads * g.head_dim
        q, k, v = op.Split(self.qkv_proj(op, x), [queries, keys, keys], axis=-1, _outputs=3)
        q = op.Reshape(self.q_norm(op, op.Reshape(q, [-1, g.heads, g.head_dim])), [-1, queries])
        k = op.Reshape(self.k_norm(op, op.Reshape(k, [-1, g.kv_heads, g.head_dim])), [-1, keys])
        attended, present_keys, present_values = op.GroupQueryAttention(
            op.Gather(self.arithmetic.enter(op, q), batch.to_padded),  # [batch, width, heads * head_dim]
            op.Gather(self.arithmetic.enter(op, k), batch.to_padded),
            op.Gather(self.arithmetic.enter(op, v), batch.to_padded),
            None,  # no past keys
            None,  # no past values
            batch.last_positions,
            batch.width,
            *rotary,
            num_heads=g.heads,
            kv_num_heads=g.kv_heads,
            do_rotary=1,
            _domain=MICROSOFT,
            _version=1,
            _outputs=3,
        )
        # ONNX Runtime before 1.27 insists on the outputs for a cache, and an output that nobody reads lives until the
        # end of the run: gigabytes over the layers of a long text. Their shapes tell the number of slots: read those.
        slots = op.Mul(op.Shape(present_keys, start=0, end=1), op.Shape(present_values, start=2, end=3))
        attended = op.Reshape(attended, op.Concat(slots, [queries], axis=0))
        return self.o_proj(op, self.arithmetic.leave(op, op.Gather(attended, wanted)))


class MLP(nn.Module):
    """SwiGLU: ``down(silu(gate(x)) * up(x))``."""

    def __init__(self, checkpoint: Checkpoint, prefix: str, arithmetic: Arithmetic) -> None:
        super().__init__()
        g = checkpoint.geometry
        self.gate_up_proj = arithmetic.product(
            checkpoint.tensor(f"{prefix}.gate_proj.weight", g.intermediate, g.hidden),
            checkpoint.tensor(f"{prefix}.up_proj.weight", g.intermediate, g.hidden),
        )
        self.down_proj = arithmetic.product(checkpoint.tensor(f"{prefix}.down_proj.weight", g.hidden, g.intermediate))

    def forward(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        """Map ``x [rows, hidden]`` to ``[rows, hidden]``."""
        gate, up = op.Split(self.gate_up_proj(op, x), axis=-1, num_outputs=2, _outputs=2)
        silu = op.Mul(gate, op.Sigmoid(gate))  # ONNX Runtime fuses the two
        return self.down_proj(op, op.Mul(silu, up))


class DecoderLayer(nn.Module):
    """One layer. Takes and gives the residual stream and the block output still to be added to it."""

    def __init__(self, checkpoint: Checkpoint, index: int, arithmetic: Arithmetic) -> None:
        super().__init__()
        g = checkpoint.geometry
        prefix = f"layers.{index}"
        norm = RMSNorm if index == 0 else AddRMSNorm  # the first layer has no block before it
        self.input_layernorm = norm(checkpoint.tensor(f"{prefix}.input_layernorm.weight", g.hidden), eps=g.rms_eps)
        self.self_attn = Attention(checkpoint, f"{prefix}.self_attn", arithmetic)
        self.post_attention_layernorm = AddRMSNorm(
            checkpoint.tensor(f"{prefix}.post_attention_layernorm.weight", g.hidden), eps=g.rms_eps
        )
        self.mlp = MLP(checkpoint, f"{prefix}.mlp", arithmetic)
        self.is_last = index == g.layers - 1

    def forward(
        self,
        op: OpBuilder,
        residual: ir.Value,
        block: ir.Value | None,
        batch: RaggedBatch,
        rotary: tuple[ir.Value, ir.Value],
    ) -> tuple[ir.Value, ir.Value]:
        """Apply the layer to ``residual [tokens, hidden]``.

        Returns:
            The residual stream and the MLP's output: ``[tokens, hidden]``, or ``[batch, hidden]`` from the last
            layer, which only needs each text's last row.
        """
        if block is None:
            normed = self.input_layernorm(op, residual)
        else:
            normed, residual = self.input_layernorm(op, residual, block)
        if self.is_last:
            attended = self.self_attn(op, normed, batch, rotary, batch.last_from_padded)
            residual = op.Gather(residual, batch.last)
        else:
            attended = self.self_attn(op, normed, batch, rotary, batch.from_padded)
        normed, residual = self.post_attention_layernorm(op, residual, attended)
        return residual, self.mlp(op, normed)


class Decoder(nn.Module):
    """From token ids to the pooled hidden state of each text."""

    def __init__(self, checkpoint: Checkpoint, arithmetic: Arithmetic) -> None:
        super().__init__()
        g = self.geometry = checkpoint.geometry
        self.arithmetic = arithmetic
        # The table keeps the checkpoint's own type: half the size for bfloat16, and exact.
        table = checkpoint.tensor("embed_tokens.weight", g.vocabulary, g.hidden)
        dtype = ir.DataType.from_numpy(table.dtype)
        self.embed_tokens = nn.Parameter(
            [g.vocabulary, g.hidden],
            dtype,
            data=ir.LazyTensor(lambda: ir.Tensor(table.map()), dtype, ir.Shape([g.vocabulary, g.hidden])),
        )
        self.rotary = Rotary(g)
        self.layers = nn.ModuleList([DecoderLayer(checkpoint, i, arithmetic) for i in range(g.layers)])
        self.norm = AddRMSNorm(checkpoint.tensor("norm.weight", g.hidden), eps=g.rms_eps)

    def forward(self, op: OpBuilder, input_ids: ir.Value, lengths: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Decode.

        Args:
            op: Builder of the graph.
            input_ids: INT64 ``[tokens]``.
            lengths: INT32 ``[batch, 1]``, summing to ``tokens``.

        Returns:
            FP32 ``[batch, hidden]``, last-token pooling and final norm; and BOOL ``[batch, 1]``, which texts were
            admitted: the others' rows mean nothing.
        """
        g = self.geometry
        batch = ragged_batch(op, input_ids, lengths, vocabulary=g.vocabulary, max_tokens=g.max_tokens)
        cos, sin = self.rotary(op)
        rotary = (self.arithmetic.enter(op, cos), self.arithmetic.enter(op, sin))
        residual = op.Cast(op.Gather(self.embed_tokens, batch.ids), to=ir.DataType.FLOAT)
        block = None
        for layer in self.layers:
            residual, block = layer(op, residual, block, batch, rotary)
        pooled, _ = self.norm(op, residual, block)
        return pooled, batch.admitted


class EmbeddingModel(nn.Module):
    """Token ids of concatenated texts in, one unit vector a text out."""

    def __init__(self, checkpoint: Checkpoint, arithmetic: Arithmetic) -> None:
        super().__init__()
        self.model = Decoder(checkpoint, arithmetic)

    def forward(self, op: OpBuilder, input_ids: ir.Value, lengths: ir.Value) -> dict[str, ir.Value]:
        """Return ``embedding`` FP32 ``[batch, hidden]`` of Euclidean norm 1; NaN for a text not admitted."""
        pooled, admitted = self.model(op, input_ids, lengths)
        # As torch.nn.functional.normalize: the floor keeps a zero vector zero.
        unit = op.Div(pooled, op.Max(op.ReduceL2(pooled, [-1], keepdims=1), 1e-12))
        return {"embedding": op.Where(admitted, unit, math.nan)}


class RerankerModel(nn.Module):
    """Token ids of concatenated prompts in, how likely each is answered "yes" out.

    Of the vocabulary's head only the rows of "yes" and "no" are kept: no other logit is ever computed.
    """

    def __init__(self, checkpoint: Checkpoint, arithmetic: Arithmetic, *, yes: int, no: int) -> None:
        super().__init__()
        g = checkpoint.geometry
        self.model = Decoder(checkpoint, arithmetic)
        head = checkpoint.tensor("embed_tokens.weight" if g.tied else "lm_head.weight", g.vocabulary, g.hidden)
        rows = np.ascontiguousarray(head.map()[[yes, no]].astype(np.float32).T)
        self.yes_no = nn.Parameter([g.hidden, 2], data=ir.Tensor(rows))

    def forward(self, op: OpBuilder, input_ids: ir.Value, lengths: ir.Value) -> dict[str, ir.Value]:
        """Return ``score`` and ``logit``, FP32 ``[batch, 1]``; NaN for a prompt not admitted.

        ``logit`` is logit(yes) - logit(no); its sigmoid, ``score``, is the softmax of the two at "yes".
        """
        pooled, admitted = self.model(op, input_ids, lengths)
        yes, no = op.Split(op.MatMul(pooled, self.yes_no), axis=-1, num_outputs=2, _outputs=2)
        logit = op.Where(admitted, op.Sub(yes, no), math.nan)
        return {"score": op.Sigmoid(logit), "logit": logit}


def _table(values: npt.NDArray[np.float32]) -> nn.Parameter:
    return nn.Parameter(list(values.shape), data=ir.Tensor(np.ascontiguousarray(values, np.float32)))
