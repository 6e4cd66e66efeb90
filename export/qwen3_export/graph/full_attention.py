"""Full attention: every token of a text attends to all of its tokens, for models that were trained that way.

GroupQueryAttention is causal, so this is MultiHeadAttention, one text at a time: there is no padding that could leak,
and a text's result is the same in every batch. It takes as many heads of keys and values as of queries, and applies no
rotary embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from onnxscript import OpBuilder

from ..checkpoint.geometry import Geometry
from .attention_inputs import AttentionInputs
from .each_text import joined_rows
from .products import MICROSOFT
from .ragged_batch import RaggedBatch, even
from .rotary import RotaryTables


@dataclass(frozen=True, slots=True)
class FullAttention:
    """The indices of one batch.

    Attributes:
        geometry: The model's sizes.
        rotary: Tables of the rotary embedding.
        batch: Which rows belong to each text.
        positions: INT64 `[rows, 1]`: each row's position in its text.
        own_rows: INT64 `[rows]`: each row itself; 0 for a row that belongs to no text. None if there is no such row.
    """

    geometry: Geometry
    rotary: RotaryTables
    batch: RaggedBatch
    positions: ir.Value
    own_rows: ir.Value | None

    @classmethod
    def of(cls, op: OpBuilder, batch: RaggedBatch, geometry: Geometry, rotary: RotaryTables) -> FullAttention:
        """Compute the indices."""
        positions, own_rows = batch.position, None
        if batch.even_rows:
            own_rows = even(op, op.Range(0, op.Size(batch.position), 1))
            positions = even(op, positions)
        return cls(geometry, rotary, batch, op.Unsqueeze(positions, [1]), own_rows)

    def attend(self, op: OpBuilder, inputs: AttentionInputs, *, pooled_only: bool) -> ir.Value:
        """Attend within each text.

        Args:
            op: Builder of the graph.
            inputs: Queries, keys and values, separate and normalised, float32.
            pooled_only: Whether only each text's pooled row is wanted.

        Returns:
            `[rows, heads * head_dim]`, or `[batch, heads * head_dim]` if `pooled_only`.
        """
        assert inputs.key is not None  # noqa: S101 - only PagedAttention takes them side by side
        assert inputs.value is not None  # noqa: S101
        attended = joined_rows(
            op,
            self.batch,
            self._attend_to_one,
            self._rotated(op, inputs.query),
            self._for_each_head(op, self._rotated(op, inputs.key)),
            self._for_each_head(op, inputs.value),
        )
        if pooled_only:
            return op.Gather(attended, self.batch.pooled_rows)
        return attended if self.own_rows is None else op.Gather(attended, self.own_rows)

    def kept_rows(self, op: OpBuilder) -> None:
        """Return None: keys and values depend on the whole text, so no other text can use them."""

    def _rotated(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        """Apply the rotary embedding to `x [rows, heads * head_dim]`."""
        rotated = op.RotaryEmbedding(
            op.Unsqueeze(x, [1]),  # every row is a sequence of one token, at a position of its own
            self.positions,
            self.rotary.cos,
            self.rotary.sin,
            _domain=MICROSOFT,
            _version=1,
        )
        rotated.type = x.type  # onnxscript does not infer the types of ONNX Runtime's own operators
        return op.Squeeze(rotated, [1])

    def _for_each_head(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        """Repeat each head of `x [rows, kv_heads * head_dim]` for the queries that share it."""
        g = self.geometry
        heads = op.Reshape(x, [-1, g.kv_heads, 1, g.head_dim])
        repeated = op.Expand(heads, [1, 1, g.heads // g.kv_heads, 1])
        return op.Reshape(repeated, [-1, g.heads * g.head_dim])

    def _attend_to_one(self, op: OpBuilder, query: ir.Value, key: ir.Value, value: ir.Value) -> ir.Value:
        """Attend within one text, each `[n, heads * head_dim]`."""
        attended = op.MultiHeadAttention(
            *(op.Unsqueeze(x, [0]) for x in (query, key, value)),
            num_heads=self.geometry.heads,
            _domain=MICROSOFT,
            _version=1,
        )
        attended.type = query.type
        return op.Squeeze(attended, [0])
