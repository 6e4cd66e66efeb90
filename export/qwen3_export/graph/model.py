"""Qwen3-Embedding and Qwen3-Reranker as ONNX graphs over concatenated texts, declared like torch modules.

Read it from the bottom: `EmbeddingModel` and `RerankerModel` share a `Decoder` and differ in their outputs. All values
outside attention are `[rows, ...]`, over all texts of the batch; attention alone knows where a text ends.

The arithmetic follows transformers' `modeling_qwen3.py`: per-head RMSNorm of queries and keys before the rotary
embedding, no biases, SwiGLU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnxscript import OpBuilder, nn

from ..checkpoint.checkpoint import Checkpoint
from ..checkpoint.module_settings import Pooling
from ..checkpoint.reranker_head import RerankerHead
from ..target import Target
from .arithmetic import Arithmetic
from .attention import Attention, AttentionForm
from .branches import choose
from .dense import Dense
from .each_text import stacked_rows
from .full_attention import FullAttention
from .norms import AddRMSNorm, RMSNorm, UnitNorm
from .padded_attention import PaddedAttention
from .paged_attention import PagedAttention
from .prefixes import PrefixInputs
from .products import MICROSOFT, Scaled
from .ragged_attention import RaggedAttention
from .ragged_batch import RaggedBatch, ragged_batch
from .rotary import Rotary


class MLP(nn.Module):
    """SwiGLU: `down(silu(gate(x)) * up(x))`."""

    def __init__(self, checkpoint: Checkpoint, prefix: str, arithmetic: Arithmetic, *, has_silu: bool) -> None:
        super().__init__()
        g = checkpoint.geometry
        self.arithmetic, self.has_silu = arithmetic, has_silu
        self.gate_up_proj = arithmetic.products(
            checkpoint.tensor(f"{prefix}.gate_proj.weight", g.intermediate, g.hidden),
            checkpoint.tensor(f"{prefix}.up_proj.weight", g.intermediate, g.hidden),
        )
        self.down_proj = arithmetic.products(checkpoint.tensor(f"{prefix}.down_proj.weight", g.hidden, g.intermediate))

    def forward(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        """Map `x [rows, hidden]` to `[rows, hidden]`, both in the type of the residual stream."""
        arithmetic = self.arithmetic
        gate, up = self.gate_up_proj(op, Scaled(arithmetic.enter(op, x)))
        if self.has_silu:
            silu = op.ScaledSiLU(gate.multiplied(op), alpha=1.0, _domain=MICROSOFT, _version=1)
            silu.type = up.value.type  # onnxscript does not infer the types of ONNX Runtime's own operators
        else:
            # ONNX Runtime fuses the sigmoid with its product and computes both in the type of the input. In a half
            # precision every step of 1 / (1 + exp(-x)) would be rounded, so this part is float32.
            gate = arithmetic.widen(op, gate.multiplied(op))
            silu = arithmetic.narrow(op, op.Mul(gate, op.Sigmoid(gate)))
        (output,) = self.down_proj(op, Scaled(op.Mul(silu, up.value), up.row_scale))
        return arithmetic.leave(op, output.multiplied(op))


class DecoderLayer(nn.Module):
    """One layer. Takes and returns the residual stream and an update that is still to be added to it.

    The next layer adds the update, because one operator does the addition together with the norm after it.
    """

    def __init__(
        self, checkpoint: Checkpoint, index: int, arithmetic: Arithmetic, target: Target, *, pooled_only: bool
    ) -> None:
        super().__init__()
        g = checkpoint.geometry
        prefix = f"layers.{index}"
        norm = RMSNorm if index == 0 else AddRMSNorm  # the first layer has no update to add
        self.input_layernorm = norm(
            checkpoint.tensor(f"{prefix}.input_layernorm.weight", g.hidden), eps=g.rms_eps, dtype=arithmetic.stream
        )
        self.self_attn = Attention(
            checkpoint,
            f"{prefix}.self_attn",
            arithmetic,
            norms_inside=target.norms_inside,
            side_by_side=target.attention == "paged",
        )
        self.post_attention_layernorm = AddRMSNorm(
            checkpoint.tensor(f"{prefix}.post_attention_layernorm.weight", g.hidden),
            eps=g.rms_eps,
            dtype=arithmetic.stream,
        )
        self.mlp = MLP(checkpoint, f"{prefix}.mlp", arithmetic, has_silu=target.has_silu)
        self.pooled_only = pooled_only

    def forward(
        self,
        op: OpBuilder,
        residual: ir.Value,
        update: ir.Value | None,
        batch: RaggedBatch,
        attention: AttentionForm,
    ) -> tuple[ir.Value, ir.Value]:
        """Apply the layer to `residual [rows, hidden]`.

        Returns:
            The residual stream and the MLP's output: `[rows, hidden]`, or `[batch, hidden]` from a layer that computes
            each text's pooled row only.
        """
        if update is None:
            normed = self.input_layernorm(op, residual)
        else:
            normed, residual = self.input_layernorm(op, residual, update)
        attended = self.self_attn(op, normed, attention, pooled_only=self.pooled_only)
        if self.pooled_only:
            residual = op.Gather(residual, batch.pooled_rows)
        normed, residual = self.post_attention_layernorm(op, residual, attended)
        return residual, self.mlp(op, normed)


class Decoder(nn.Module):
    """The model without its head: token ids in, the pooled hidden state of each text out."""

    def __init__(
        self, checkpoint: Checkpoint, arithmetic: Arithmetic, target: Target, *, pooling: Pooling = "lasttoken"
    ) -> None:
        super().__init__()
        self.pooling = pooling
        g = self.geometry = checkpoint.geometry
        self.target = target
        self.arithmetic, self.even_rows = arithmetic, arithmetic.even_rows
        # The table keeps the checkpoint's type, which is exact, and for bfloat16 half the size of float32.
        table = checkpoint.tensor("embed_tokens.weight", g.vocabulary, g.hidden)
        dtype = ir.DataType.from_numpy(table.dtype)
        self.embed_tokens = nn.Parameter(
            [g.vocabulary, g.hidden],
            dtype,
            data=ir.LazyTensor(lambda: ir.Tensor(table.values()), dtype, ir.Shape([g.vocabulary, g.hidden])),
        )
        self.rotary = Rotary(g, arithmetic)
        self.layers = nn.ModuleList(
            [
                # The last layer computes the rows that are pooled, and no other.
                DecoderLayer(checkpoint, i, arithmetic, target, pooled_only=i == g.layers - 1 and pooling != "mean")
                for i in range(g.layers)
            ]
        )
        self.norm = AddRMSNorm(checkpoint.tensor("norm.weight", g.hidden), eps=g.rms_eps)

    def forward(
        self, op: OpBuilder, input_ids: ir.Value, lengths: ir.Value, prefixes: PrefixInputs | None
    ) -> tuple[ir.Value, ir.Value, ir.Value | None]:
        """Decode.

        Args:
            op: Builder of the graph.
            input_ids: INT64 `[tokens]`.
            lengths: INT32 `[batch, 1]`, which sum to `tokens`.
            prefixes: The inputs for shared prefixes; None if the graph does not share prefixes.

        Returns:
            The pooled hidden state of each text after the final norm, FP32 `[batch, hidden]`; whether each text was
            admitted, BOOL `[batch, 1]`, without which its hidden state has no meaning; and the rows kept for later
            runs, or None.
        """
        g = self.geometry
        batch = ragged_batch(
            op,
            input_ids,
            lengths,
            None if prefixes is None else prefixes.lengths,
            vocabulary=g.vocabulary,
            max_tokens=g.max_tokens,
            even_rows=self.even_rows,
            pools_first=self.pooling == "cls",
            host_indices=self.target.device == "cuda",
        )
        rotary = self.rotary(op)
        attention: AttentionForm
        if not g.is_causal:
            attention = FullAttention.of(op, batch, g, rotary)
        elif self.target.attention == "paged":
            attention = PagedAttention.of(op, batch, g, rotary, prefixes, metadata_size=self.target.metadata_size)
        elif self.target.attention == "ragged":
            attention = RaggedAttention(g, rotary, batch, prefixes, may_use_bf16=self.arithmetic.bf16_attention)
        else:
            attention = PaddedAttention.of(op, batch, g, rotary, prefixes)
        residual = op.Gather(self.embed_tokens, batch.ids)
        if self.embed_tokens.dtype != self.arithmetic.stream:
            residual = op.Cast(residual, to=self.arithmetic.stream)
        kept: ir.Value | None
        if isinstance(attention, PagedAttention) and prefixes is not None:
            pooled, kept = self._decoded_in_branches(op, residual, batch, attention, prefixes)
        else:
            if isinstance(attention, PagedAttention):
                attention = attention.with_empty_cache(op)
            pooled, kept = self._decoded(op, residual, batch, attention)
        if self.pooling == "mean":
            pooled = stacked_rows(op, batch, _mean, pooled)
        elif self.even_rows:  # drop the row that belongs to no text
            pooled = op.Slice(pooled, [0], op.Shape(lengths, start=0, end=1), [0])
        return pooled, batch.admitted, kept

    def _decoded(
        self, op: OpBuilder, residual: ir.Value, batch: RaggedBatch, attention: AttentionForm
    ) -> tuple[ir.Value, ir.Value | None]:
        """Run all layers and the final norm; return the hidden states and the rows kept for later runs."""
        update = None
        for layer in self.layers:
            residual, update = layer(op, residual, update, batch, attention)
        assert update is not None  # noqa: S101 - there is at least one layer
        # The last norm is float32 in every precision: it has few rows, and nothing rounds after it.
        widen = self.arithmetic.widen_stream
        pooled, _ = self.norm(op, widen(op, residual), widen(op, update))
        return pooled, attention.kept_rows(op)

    def _decoded_in_branches(
        self,
        op: OpBuilder,
        residual: ir.Value,
        batch: RaggedBatch,
        attention: PagedAttention,
        prefixes: PrefixInputs,
    ) -> tuple[ir.Value, ir.Value]:
        """Run all layers in one of three ways, so that a batch without prefixes launches no kernel for them."""
        assert prefixes.arrange is not None  # noqa: S101 - paged attention has it

        def decoded(attention: PagedAttention) -> Sequence[ir.Value]:
            pooled, kept = self._decoded(op, residual, batch, attention)
            assert kept is not None  # noqa: S101 - the graph shares prefixes
            pooled.type, pooled.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(["batch", self.geometry.hidden])
            return pooled, kept

        def has_rows(table: ir.Value) -> ir.Value:
            return op.Greater(op.Shape(table, start=0, end=1), 0)

        keeps, shares = has_rows(prefixes.arrange), has_rows(prefixes.rows)

        def with_or_without_keeping() -> Sequence[ir.Value]:
            return choose(
                op,
                keeps,
                lambda: decoded(attention.with_prefixes(op, keeps=True)),
                lambda: decoded(attention.with_prefixes(op, keeps=False)),
            )

        pooled, kept = choose(
            op, op.Or(keeps, shares), with_or_without_keeping, lambda: decoded(attention.with_empty_cache(op))
        )
        return pooled, kept


def _mean(op: OpBuilder, rows: ir.Value) -> ir.Value:
    """Return the mean of the rows of one text, `[hidden]`."""
    return op.ReduceMean(rows, [0], keepdims=0)


class EmbeddingModel(nn.Module):
    """The embedding model: token ids of concatenated texts in, one vector per text out."""

    def __init__(self, checkpoint: Checkpoint, arithmetic: Arithmetic, target: Target) -> None:
        super().__init__()
        modules = checkpoint.modules
        self.model = Decoder(checkpoint, arithmetic, target, pooling=modules.pooling)
        self.dense = nn.ModuleList([Dense(checkpoint.saved_folder, layer) for layer in modules.dense])
        self.is_normalized = modules.is_normalized
        self.unit_norm = UnitNorm(checkpoint.dimensions) if target.device == "cuda" else None

    def forward(
        self, op: OpBuilder, input_ids: ir.Value, lengths: ir.Value, prefixes: PrefixInputs | None
    ) -> tuple[dict[str, ir.Value], ir.Value | None]:
        """Return the outputs by name, and the rows kept for later runs.

        `embedding` is FP32 `[batch, dimensions]`, of Euclidean norm 1 if the model normalises; NaN for a text that is
        not admitted.
        """
        vector, admitted, kept = self.model(op, input_ids, lengths, prefixes)
        for layer in self.dense:
            vector = layer(op, vector)
        if self.is_normalized and self.unit_norm is not None:
            vector = self.unit_norm(op, vector)
        elif self.is_normalized:
            # Like torch.nn.functional.normalize: the lower bound keeps a zero vector zero.
            vector = op.Div(vector, op.Max(op.ReduceL2(vector, [-1], keepdims=1), 1e-12))
        return {"embedding": op.Where(admitted, vector, math.nan)}, kept


class RerankerModel(nn.Module):
    """The reranker: token ids of concatenated prompts in, the probability that each document is relevant out.

    Of lm_head only the rows of "yes" and "no" are exported; no other logit is computed. A head of one row has zeros for
    the other, so that every head runs the same operators.
    """

    def __init__(self, checkpoint: Checkpoint, arithmetic: Arithmetic, target: Target, head: RerankerHead) -> None:
        super().__init__()
        self.model = Decoder(checkpoint, arithmetic, target)
        rows = np.ascontiguousarray(np.stack([head.yes, head.no]).T)
        self.yes_no = nn.Parameter([checkpoint.geometry.hidden, 2], data=ir.Tensor(rows))

    def forward(
        self, op: OpBuilder, input_ids: ir.Value, lengths: ir.Value, prefixes: PrefixInputs | None
    ) -> tuple[dict[str, ir.Value], ir.Value | None]:
        """Return the outputs by name, and the rows kept for later runs.

        `score` and `logit` are FP32 `[batch, 1]`; NaN for a prompt that is not admitted. `logit` is
        logit(yes) - logit(no); its sigmoid, `score`, equals the softmax over both logits, at "yes".
        """
        pooled, admitted, kept = self.model(op, input_ids, lengths, prefixes)
        yes, no = op.Split(op.MatMul(pooled, self.yes_no), axis=-1, num_outputs=2, _outputs=2)
        logit = op.Where(admitted, op.Sub(yes, no), math.nan)
        return {"score": op.Sigmoid(logit), "logit": logit}, kept
