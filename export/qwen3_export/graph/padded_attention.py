"""Padded attention: texts become rows of a padded batch for GroupQueryAttention, which every device has.

Only attention is padded: rows are gathered into the padded batch before it and back into packed rows after it. The
index tensors for both are computed once per batch.

The padded batch has one column more than its longest text needs. GroupQueryAttention works in blocks of queries, and a
block of a single query takes another kernel with another order of summation: a text of 257 tokens alone would differ in
the last bit from the same text beside a longer one. With a spare column, no query of a text is alone in its block.

The tokens of a shared prefix take positions in the padded batch like any other token, so that attention adds the same
numbers in the same order as without a prefix. Queries at prefix positions are don't-cares; their outputs are discarded.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from onnxscript import OpBuilder

from ..checkpoint.geometry import Geometry
from .attention_inputs import AttentionInputs
from .prefixes import PrefixInputs, SharedPrefixes
from .products import MICROSOFT
from .ragged_batch import RaggedBatch, even
from .rotary import RotaryTables


@dataclass(frozen=True, slots=True)
class PaddedAttention:
    """The indices between one batch's packed rows and its padded batch `[batch, columns]`.

    Attributes:
        geometry: The model's sizes.
        rotary: Tables of the rotary embedding.
        to_padded: INT64 `[batch, columns]`: the packed row at each position of the padded batch. Positions after a
            text's end repeat its last row, and attention never reads them. Positions of a prefix repeat the text's
            first row.
        from_padded: INT64 `[rows]`: each packed row's index in the flattened padded batch; 0 for a row that belongs
            to no text.
        pooled_from_padded: INT64 `[batch]`: the same index, for each text's pooled row only.
        last_positions: INT32 `[batch]`: the position of each text's last token, its prefix included.
        columns: INT32 scalar: columns of the padded batch.
        prefixes: What comes from earlier runs and is kept for later ones; None if the graph does not share prefixes.
    """

    geometry: Geometry
    rotary: RotaryTables
    to_padded: ir.Value
    from_padded: ir.Value
    pooled_from_padded: ir.Value
    last_positions: ir.Value
    columns: ir.Value
    prefixes: SharedPrefixes | None

    @classmethod
    def of(
        cls,
        op: OpBuilder,
        batch: RaggedBatch,
        geometry: Geometry,
        rotary: RotaryTables,
        prefix_inputs: PrefixInputs | None,
    ) -> PaddedAttention:
        """Compute the indices."""
        before = batch.prefix_lengths
        last_row = op.Sub(batch.lengths, 1)  # [batch, 1], counted from the text's first row
        last_position = last_row if before is None else op.Add(last_row, before)
        # CUDA's kernels have no such blocks, so there the column would be spare in the other sense.
        columns = op.Add(op.ReduceMax(last_position, keepdims=0), 2 if batch.numbers is None else 1)  # scalar
        column = op.Unsqueeze(op.Range(0, columns, 1), [0])  # [1, columns]
        own_row = column if before is None else op.Max(op.Sub(column, before), 0)
        from_padded = op.Add(op.Mul(batch.text_index, columns), batch.position)
        if before is not None:
            from_padded = op.Add(from_padded, op.Gather(op.Reshape(before, [-1]), batch.text_index))
        if batch.even_rows:
            from_padded = even(op, from_padded)
        to_padded = op.Add(batch.starts, op.Min(own_row, last_row))
        prefixes = None
        if prefix_inputs is not None and before is not None:
            prefixes = SharedPrefixes.of(op, prefix_inputs, before, column, to_padded, geometry)
        return cls(
            geometry,
            rotary,
            to_padded=to_padded,
            from_padded=from_padded,
            pooled_from_padded=op.Gather(from_padded, batch.pooled_rows),
            last_positions=op.Cast(op.Reshape(last_position, [-1]), to=ir.DataType.INT32),
            columns=op.Cast(columns, to=ir.DataType.INT32),
            prefixes=prefixes,
        )

    def attend(self, op: OpBuilder, inputs: AttentionInputs, *, pooled_only: bool) -> ir.Value:
        """Attend causally within each text; the operator applies the rotary embedding.

        Args:
            op: Builder of the graph.
            inputs: Queries, keys and values, separate and normalised.
            pooled_only: Whether only each text's pooled row is wanted.

        Returns:
            `[rows, heads * head_dim]`, or `[batch, heads * head_dim]` if `pooled_only`.
        """
        g = self.geometry
        assert inputs.key is not None  # noqa: S101 - only PagedAttention takes them side by side
        assert inputs.value is not None  # noqa: S101
        if self.prefixes is None:
            keys, values = op.Gather(inputs.key, self.to_padded), op.Gather(inputs.value, self.to_padded)
        else:
            keys, values = self.prefixes.padded(op, inputs.key), self.prefixes.padded(op, inputs.value)
        attended, present_keys, present_values = op.GroupQueryAttention(
            op.Gather(inputs.query, self.to_padded),  # [batch, columns, heads * head_dim]
            keys,
            values,
            None,  # no past keys
            None,  # no past values
            self.last_positions,
            self.columns,
            self.rotary.cos,
            self.rotary.sin,
            num_heads=g.heads,
            kv_num_heads=g.kv_heads,
            do_rotary=1,
            _domain=MICROSOFT,
            _version=1,
            _outputs=3,
        )
        for output in (attended, present_keys, present_values):
            output.type = inputs.query.type  # onnxscript does not infer the types of ONNX Runtime's own operators
        # ONNX Runtime before 1.27 insists on the two cache outputs, and frees an output that no operator reads only at
        # the end of the run: over the layers of a long text that adds up to gigabytes. So their sizes are read, to
        # compute the number of positions for the reshape. The new shape is a sum, because in a shape made by Concat
        # ONNX Runtime replaces the first element by -1, and the sizes would again be read by nobody.
        elements = op.Add(op.Size(present_keys), op.Size(present_values))
        positions = op.Div(elements, 2 * g.kv_heads * g.head_dim)  # batch * columns
        attended = op.Reshape(attended, op.Add(op.Mul(positions, [1, 0]), [0, g.heads * g.head_dim]))
        return op.Gather(attended, self.pooled_from_padded if pooled_only else self.from_padded)

    def kept_rows(self, op: OpBuilder) -> ir.Value | None:
        """Return what this run keeps for later ones, after all layers have attended; None if it keeps nothing."""
        return None if self.prefixes is None else self.prefixes.kept_rows(op)
