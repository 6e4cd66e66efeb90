"""The ragged batch: how rows of different texts lie in one tensor, and where attention finds them.

Texts are concatenated, never padded: ``[tokens, ...]``. Attention on a CPU wants a rectangle ``[batch, width]``; the
two index tensors made here lead from rows to rectangle and back, once a batch instead of once a layer.

The rectangle is one slot wider than the longest text. GroupQueryAttention works in blocks of queries, and a block of a
single query takes another kernel with another order of summation: a text of 257 tokens alone would differ in the last
bit from the same text beside a longer one. With a slot to spare, no text's row is ever alone in its block.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from onnxscript import OpBuilder


@dataclass(frozen=True, slots=True)
class RaggedBatch:
    """Where each text's rows lie. All values are computed inside the graph, from the lengths alone.

    Attributes:
        to_padded: INT64 ``[batch, width]``: for each slot of the rectangle its row. Slots past a text's end
            repeat its last row; attention never looks at them.
        from_padded: INT64 ``[tokens]``: for each row its slot in the flattened rectangle.
        last_from_padded: INT64 ``[batch]``: the slot of each text's last row.
        last: INT64 ``[batch]``: each text's last row.
        last_positions: INT32 ``[batch]``: position of each text's last token, which is length - 1.
        width: INT32 scalar: slots for each text, one more than the longest needs.
    """

    to_padded: ir.Value
    from_padded: ir.Value
    last_from_padded: ir.Value
    last: ir.Value
    last_positions: ir.Value
    width: ir.Value


def ragged_batch(op: OpBuilder, lengths: ir.Value) -> RaggedBatch:
    """Compute the batch's indices.

    Args:
        op: Builder of the graph.
        lengths: INT32 ``[batch, 1]``, as Triton's BATCH_ITEM_SHAPE delivers them.
    """
    tokens = op.Cast(lengths, to=ir.DataType.INT64)  # [batch, 1]
    ends = op.CumSum(tokens, 0)
    starts = op.Sub(ends, tokens)
    last_column = op.Sub(tokens, 1)
    width = op.Add(op.ReduceMax(tokens, keepdims=0), 1)  # scalar
    columns = op.Unsqueeze(op.Range(0, width, 1), [0])  # [1, width]
    to_padded = op.Add(starts, op.Min(columns, last_column))  # [batch, width]
    # NonZero lists the used slots row by row, which is the order of the concatenated rows.
    used = op.Reshape(op.Less(columns, tokens), [-1])
    from_padded = op.Reshape(op.NonZero(used), [-1])
    last = op.Reshape(op.Sub(ends, 1), [-1])
    return RaggedBatch(
        to_padded=to_padded,
        from_padded=from_padded,
        last_from_padded=op.Gather(from_padded, last),
        last=last,
        last_positions=op.Cast(op.Reshape(last_column, [-1]), to=ir.DataType.INT32),
        width=op.Cast(width, to=ir.DataType.INT32),
    )
