"""The ragged batch: which texts are admitted, and where the rows of each lie.

Texts are concatenated, never padded: ``[rows, ...]``. Attention on a CPU wants a rectangle ``[batch, width]``; the
index tensors made here lead from rows to rectangle and back, once a batch instead of once a layer.

Admission: Triton runs the texts of many clients in one call, so an id that no table holds must not fail the call. A
text that is empty, too long, or holds such an id shrinks to one harmless row, and its result becomes NaN.

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
    """Where each text's rows lie. All values are computed inside the graph, from ids and lengths alone.

    Attributes:
        ids: INT64 ``[rows]``: the token id of each row, inside the vocabulary.
        admitted: BOOL ``[batch, 1]``: which texts are what they seem; the others have one row of id 0.
        to_padded: INT64 ``[batch, width]``: for each slot of the rectangle its row. Slots past a text's end
            repeat its last row; attention never looks at them.
        from_padded: INT64 ``[rows]``: for each row its slot in the flattened rectangle.
        last_from_padded: INT64 ``[batch]``: the slot of each text's last row.
        last: INT64 ``[batch]``: each text's last row.
        last_positions: INT32 ``[batch]``: position of each text's last row, which is its number of rows - 1.
        width: INT32 scalar: slots for each text, one more than the longest needs.
    """

    ids: ir.Value
    admitted: ir.Value
    to_padded: ir.Value
    from_padded: ir.Value
    last_from_padded: ir.Value
    last: ir.Value
    last_positions: ir.Value
    width: ir.Value


def ragged_batch(
    op: OpBuilder, input_ids: ir.Value, lengths: ir.Value, *, vocabulary: int, max_tokens: int
) -> RaggedBatch:
    """Admit the texts and compute the batch's indices.

    Args:
        op: Builder of the graph.
        input_ids: INT64 ``[tokens]``, anything.
        lengths: INT32 ``[batch, 1]``, as Triton's BATCH_ITEM_SHAPE delivers them; they sum to ``tokens``.
        vocabulary: Ids are admitted from 0 up to this, exclusive.
        max_tokens: Longest text admitted.
    """
    tokens = op.Cast(lengths, to=ir.DataType.INT64)  # [batch, 1]; so are all values down to `last_row`
    ends = op.CumSum(tokens, 0)
    starts = op.Sub(ends, tokens)
    bad = op.Cast(op.Or(op.Less(input_ids, 0), op.GreaterOrEqual(input_ids, vocabulary)), to=ir.DataType.INT64)
    bad_before = op.CumSum(op.Concat([0], bad, axis=0), 0)  # [tokens + 1]
    all_good = op.Equal(op.Gather(bad_before, ends), op.Gather(bad_before, starts))
    fits = op.And(op.Greater(tokens, 0), op.LessOrEqual(tokens, max_tokens))
    admitted = op.And(all_good, fits)

    rows = op.Where(admitted, tokens, 1)
    row_ends = op.CumSum(rows, 0)
    row_starts = op.Sub(row_ends, rows)
    last_row = op.Sub(rows, 1)
    width = op.Add(op.ReduceMax(rows, keepdims=0), 1)  # scalar
    columns = op.Unsqueeze(op.Range(0, width, 1), [0])  # [1, width]
    to_padded = op.Add(row_starts, op.Min(columns, last_row))  # [batch, width]
    # NonZero lists the used slots text by text, which is the order of the rows: [2, rows].
    text, position = op.Split(op.NonZero(op.Less(columns, rows)), axis=0, num_outputs=2, _outputs=2)
    text, position = op.Reshape(text, [-1]), op.Reshape(position, [-1])
    from_padded = op.Add(op.Mul(text, width), position)

    # A row reads its own token, or, in a text not admitted, the zero that is put behind the last one.
    flat = [-1]
    source = op.Where(
        op.Gather(op.Reshape(admitted, flat), text),
        op.Add(op.Gather(op.Reshape(starts, flat), text), position),
        op.Shape(input_ids),
    )
    last = op.Reshape(op.Sub(row_ends, 1), flat)
    return RaggedBatch(
        ids=op.Gather(op.Concat(input_ids, [0], axis=0), source),
        admitted=admitted,
        to_padded=to_padded,
        from_padded=from_padded,
        last_from_padded=op.Gather(from_padded, last),
        last=last,
        last_positions=op.Cast(op.Reshape(last_row, flat), to=ir.DataType.INT32),
        width=op.Cast(width, to=ir.DataType.INT32),
    )
