"""Attention over a padded batch: texts padded to one width for GroupQueryAttention, which every device has.

Only the rows inside attention are padded, and the index tensors that lead there and back are made once a batch.

The padded batch is one position wider than the longest text. GroupQueryAttention works in blocks of queries, and a
block of a single query takes another kernel with another order of summation: a text of 257 tokens alone would differ in
the last bit from the same text beside a longer one. With a position to spare, no text's row is alone in its block.

A prefix from an earlier run has positions like any other token, so that attention computes the same numbers in the same
order as without. Query rows at prefix positions are don't-cares; their outputs are discarded.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from onnxscript import OpBuilder

from ..checkpoint.geometry import Geometry
from .heads import Heads, RotaryTables
from .prefixes import PrefixInputs, SharedPrefixes
from .products import MICROSOFT
from .ragged_batch import RaggedBatch, even


@dataclass(frozen=True, slots=True)
class PaddedAttention:
    """One batch's rectangle `[batch, width]`.

    Attributes:
        geometry: The model's sizes.
        rotary: Tables of the rotary embedding.
        to_padded: INT64 `[batch, width]`: for each slot of the rectangle its row. Slots past a text's end
            repeat its last row; attention never looks at them. Slots of a prefix repeat the text's first row.
        from_padded: INT64 `[rows]`: for each row its slot in the flattened rectangle; the first for a row that
            belongs to no text.
        last_from_padded: INT64 `[batch]`: the slot of each text's last row, likewise.
        last_positions: INT32 `[batch]`: position of each text's last row.
        width: INT32 scalar: slots for each text, one more than the longest needs.
        prefixes: What comes from earlier runs and is kept for later ones; None if the graph does no such thing.
    """

    geometry: Geometry
    rotary: RotaryTables
    to_padded: ir.Value
    from_padded: ir.Value
    last_from_padded: ir.Value
    last_positions: ir.Value
    width: ir.Value
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
        """Compute the rectangle's indices."""
        before = batch.prefix_lengths
        last_row = op.Sub(batch.lengths, 1)  # [batch, 1]
        last_position = last_row if before is None else op.Add(last_row, before)
        width = op.Add(op.ReduceMax(last_position, keepdims=0), 2)  # scalar
        columns = op.Unsqueeze(op.Range(0, width, 1), [0])  # [1, width]
        own_columns = columns if before is None else op.Max(op.Sub(columns, before), 0)
        from_padded = op.Add(op.Mul(batch.text, width), batch.position)
        if before is not None:
            from_padded = op.Add(from_padded, op.Gather(op.Reshape(before, [-1]), batch.text))
        if batch.even_rows:
            from_padded = even(op, from_padded)
        to_padded = op.Add(batch.starts, op.Min(own_columns, last_row))
        prefixes = None
        if prefix_inputs is not None and before is not None:
            prefixes = SharedPrefixes.of(op, prefix_inputs, before, columns, to_padded, geometry)
        return cls(
            geometry,
            rotary,
            to_padded=to_padded,
            from_padded=from_padded,
            last_from_padded=op.Gather(from_padded, batch.last),
            last_positions=op.Cast(op.Reshape(last_position, [-1]), to=ir.DataType.INT32),
            width=op.Cast(width, to=ir.DataType.INT32),
            prefixes=prefixes,
        )

    def attend(self, op: OpBuilder, heads: Heads, *, last_only: bool) -> ir.Value:
        """Causal attention within each text; the rotary embedding happens inside.

        Args:
            op: Builder of the graph.
            heads: Queries, keys and values, apart and normalised.
            last_only: Whether only each text's last row is wanted.

        Returns:
            `[rows, heads * head_dim]`, or `[batch, heads * head_dim]`.
        """
        g = self.geometry
        assert heads.key is not None  # noqa: S101 - side by side for PagedAttention only
        assert heads.value is not None  # noqa: S101
        if self.prefixes is None:
            keys, values = op.Gather(heads.key, self.to_padded), op.Gather(heads.value, self.to_padded)
        else:
            keys, values = self.prefixes.padded(op, heads.key), self.prefixes.padded(op, heads.value)
        attended, present_keys, present_values = op.GroupQueryAttention(
            op.Gather(heads.query, self.to_padded),  # [batch, width, heads * head_dim]
            keys,
            values,
            None,  # no past keys
            None,  # no past values
            self.last_positions,
            self.width,
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
            output.type = heads.query.type  # onnxscript knows no types of ONNX Runtime's own operators
        # ONNX Runtime before 1.27 insists on the outputs for a cache, and an output that nobody reads lives until the
        # end of the run: gigabytes over the layers of a long text. Their sizes tell the number of slots: read those.
        # The shape is summed, for one made by Concat is one that ONNX Runtime puts -1 in, and then nobody reads.
        elements = op.Add(op.Size(present_keys), op.Size(present_values))
        slots = op.Div(elements, 2 * g.kv_heads * g.head_dim)
        attended = op.Reshape(attended, op.Add(op.Mul(slots, [1, 0]), [0, g.heads * g.head_dim]))
        return op.Gather(attended, self.last_from_padded if last_only else self.from_padded)

    def kept_rows(self, op: OpBuilder) -> ir.Value | None:
        """What this run keeps for later ones, once all layers have attended; None if the graph keeps nothing."""
        return None if self.prefixes is None else self.prefixes.kept_rows(op)
