"""Ragged attention: the project's own operator, which attends within each text of packed rows on a CPU.

Nothing is padded, and rows of shared prefixes are read where they are. The order in which the operator adds numbers
depends on a text alone, so the form needs no spare rows for batch invariance. It is in the library of `operators`, so
the graph runs only where that is loaded. `padded_attention` is the form for any ONNX Runtime.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx_ir as ir
from onnxscript import OpBuilder

from ..checkpoint.geometry import Geometry
from ..operators import DOMAIN, MAX_GROUP, MAX_HEAD_DIM, VERSION
from ..target import Target
from .attention_inputs import AttentionInputs
from .prefixes import PrefixInputs, row_size
from .ragged_batch import RaggedBatch
from .rotary import RotaryTables


def has_ragged_graph(target: Target, geometry: Geometry) -> bool:
    """Return whether an export has a second graph, with ragged attention, beside the one that any ONNX Runtime runs."""
    return (
        target.device == "cpu"
        and geometry.is_causal
        and geometry.heads // geometry.kv_heads <= MAX_GROUP
        and geometry.head_dim <= MAX_HEAD_DIM
    )


@dataclass(frozen=True, slots=True)
class RaggedAttention:
    """One batch's rows, as the operator takes them.

    Attributes:
        geometry: The model's sizes.
        rotary: Tables of the rotary embedding.
        batch: The rows of each text.
        prefix_inputs: The graph's inputs for prefixes; None if it does not share them.
        may_use_bf16: Whether the operator may multiply in bfloat16 on processors that can. Sums are float32.
        kept: The keys and values of the rows to keep, `[kept, 2 * kv_heads * head_dim]` of each layer; of none if the
            graph does not share prefixes. `attend` appends to it while the graph is built.
    """

    geometry: Geometry
    rotary: RotaryTables
    batch: RaggedBatch
    prefix_inputs: PrefixInputs | None
    may_use_bf16: bool = field(kw_only=True)
    kept: list[ir.Value] = field(default_factory=list)

    def attend(self, op: OpBuilder, inputs: AttentionInputs, *, pooled_only: bool) -> ir.Value:
        """Attend causally within each text; the operator applies norms and rotary embedding.

        Args:
            op: Builder of the graph.
            inputs: Queries, keys and values, separate, with the gains of the norms.
            pooled_only: Whether only each text's pooled row is wanted.

        Returns:
            `[rows, heads * head_dim]`, or `[batch, heads * head_dim]` if `pooled_only`. Zeros for a row that belongs to
            no text.
        """
        g, batch = self.geometry, self.batch
        assert inputs.gains is not None  # noqa: S101 - `Target.norms_inside`
        prefixes: tuple[ir.Value | None, ...] = (None, None, None)
        if self.prefix_inputs is not None:
            assert batch.prefix_lengths is not None  # noqa: S101 - the graph shares prefixes
            prefixes = (self.prefix_inputs.rows, self.prefix_inputs.starts, batch.prefix_lengths)
        attended, kept = op.RaggedAttention(
            inputs.query,
            inputs.key,
            inputs.value,
            batch.starts,
            batch.lengths,
            self.rotary.cos,
            self.rotary.sin,
            *inputs.gains,
            batch.pooled_rows if pooled_only else None,
            *prefixes,
            None if self.prefix_inputs is None else self.prefix_inputs.keep,
            heads=g.heads,
            kv_heads=g.kv_heads,
            layer=len(self.kept),
            bf16=int(self.may_use_bf16),
            epsilon=inputs.eps,
            _domain=DOMAIN,
            _version=VERSION,
            _outputs=2,
        )
        attended.type = kept.type = inputs.query.type  # onnxscript infers types for operators of ONNX only
        self.kept.append(kept)
        return attended

    def kept_rows(self, op: OpBuilder) -> ir.Value | None:
        """Return the rows to keep, FP32 `[kept, row_size]`, after all layers have attended; None if there are none."""
        if self.prefix_inputs is None:
            return None
        rows = op.Concat(*self.kept, axis=1)
        rows.type, rows.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(["kept", row_size(self.geometry)])
        return rows
