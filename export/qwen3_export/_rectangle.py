"""Attention over a rectangle: texts padded to one width for GroupQueryAttention, which every device has.

Only the rows inside attention are padded, and the index tensors that lead there and back are made once a batch.

The rectangle is one slot wider than the longest text. GroupQueryAttention works in blocks of queries, and a block of a
single query takes another kernel with another order of summation: a text of 257 tokens alone would differ in the last
bit from the same text beside a longer one. With a slot to spare, no text's row is ever alone in its block.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from onnxscript import OpBuilder

from ._geometry import Geometry
from ._heads import Heads, RotaryTables
from ._products import MICROSOFT
from ._ragged import RaggedBatch


@dataclass(frozen=True, slots=True)
class Rectangle:
    """One batch's rectangle ``[batch, width]``.

    Attributes:
        geometry: The model's sizes.
        rotary: Tables of the rotary embedding.
        to_padded: INT64 ``[batch, width]``: for each slot of the rectangle its row. Slots past a text's end
            repeat its last row; attention never looks at them.
        from_padded: INT64 ``[rows]``: for each row its slot in the flattened rectangle.
        last_from_padded: INT64 ``[batch]``: the slot of each text's last row.
        last_positions: INT32 ``[batch]``: position of each text's last row, which is its number of rows - 1.
        width: INT32 scalar: slots for each text, one more than the longest needs.
    """

    geometry: Geometry
    rotary: RotaryTables
    to_padded: ir.Value
    from_padded: ir.Value
    last_from_padded: ir.Value
    last_positions: ir.Value
    width: ir.Value

    @classmethod
    def of(cls, op: OpBuilder, batch: RaggedBatch, geometry: Geometry, rotary: RotaryTables) -> Rectangle:
        """Compute the rectangle's indices."""
        last_row = op.Sub(batch.lengths, 1)  # [batch, 1]
        width = op.Add(op.ReduceMax(batch.lengths, keepdims=0), 1)  # scalar
        columns = op.Unsqueeze(op.Range(0, width, 1), [0])  # [1, width]
        from_padded = op.Add(op.Mul(batch.text, width), batch.position)
        return cls(
            geometry,
            rotary,
            to_padded=op.Add(batch.starts, op.Min(columns, last_row)),
            from_padded=from_padded,
            last_from_padded=op.Gather(from_padded, batch.last),
            last_positions=op.Cast(op.Reshape(last_row, [-1]), to=ir.DataType.INT32),
            width=op.Cast(width, to=ir.DataType.INT32),
        )

    def attend(self, op: OpBuilder, heads: Heads, *, last_only: bool) -> ir.Value:
        """Causal attention within each text; the rotary embedding happens inside.

        Args:
            op: Builder of the graph.
            heads: Queries, keys and values, apart and normalised.
            last_only: Whether only each text's last row is wanted.

        Returns:
            ``[rows, heads * head_dim]``, or ``[batch, heads * head_dim]``.
        """
        g = self.geometry
        attended, present_keys, present_values = op.GroupQueryAttention(
            op.Gather(heads.query, self.to_padded),  # [batch, width, heads * head_dim]
            op.Gather(heads.key, self.to_padded),
            op.Gather(heads.value, self.to_padded),
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
