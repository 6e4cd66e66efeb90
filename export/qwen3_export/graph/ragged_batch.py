"""The ragged batch: which texts are admitted, and where the rows of each lie.

Texts are concatenated, never padded: `[rows, ...]`. What is computed here every attention needs; what only one of
them needs is in `padded_attention` and `paged_attention`.

Admission: Triton runs the texts of many clients in one call, so an id that no table holds must not fail the call. A
text that is empty, too long, or holds such an id shrinks to one harmless row, and its result becomes NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnxscript import OpBuilder


@dataclass(frozen=True, slots=True)
class RaggedBatch:
    """Where each text's rows lie. All values are INT64, computed inside the graph from ids and lengths alone.

    Attributes:
        ids: `[rows]`: the token id of each row, inside the vocabulary. With even rows there may be one more, which
            belongs to no text.
        admitted: BOOL `[batch, 1]`: which texts are what they seem; the others have one row of id 0.
        lengths: `[batch, 1]`: how many rows each text has, at least one.
        starts: `[batch, 1]`: each text's first row.
        last: `[batch]`: each text's last row. With even rows there may be one more.
        even_rows: Whether `even` completes indices of rows, because products take rows by twos.
        text: `[rows]`: which text each row belongs to.
        position: `[rows]`: its place among that text's rows, from 0.
        prefix_lengths: `[batch, 1]`: tokens before each text's rows, whose keys and values come from earlier runs;
            None if the graph takes none.
    """

    ids: ir.Value
    admitted: ir.Value
    lengths: ir.Value
    starts: ir.Value
    last: ir.Value
    even_rows: bool
    text: ir.Value
    position: ir.Value
    prefix_lengths: ir.Value | None


def ragged_batch(
    op: OpBuilder,
    input_ids: ir.Value,
    lengths: ir.Value,
    prefix_lengths: ir.Value | None,
    *,
    vocabulary: int,
    max_tokens: int,
    even_rows: bool,
) -> RaggedBatch:
    """Admit the texts and find their rows.

    Args:
        op: Builder of the graph.
        input_ids: INT64 `[tokens]`, anything.
        lengths: INT32 `[batch, 1]`, as Triton's BATCH_ITEM_SHAPE delivers them; they sum to `tokens`.
        prefix_lengths: INT64 `[batch, 1]` or `[1, 1]`, see `prefixes`; None without.
        vocabulary: Ids are admitted from 0 up to this, exclusive.
        max_tokens: Longest text admitted.
        even_rows: Whether every product shall see an even number of rows.
    """
    tokens = op.Cast(lengths, to=ir.DataType.INT64)  # [batch, 1]; so are all values down to `row_starts`
    ends = op.CumSum(tokens, 0)
    starts = op.Sub(ends, tokens)
    bad = op.Cast(op.Or(op.Less(input_ids, 0), op.GreaterOrEqual(input_ids, vocabulary)), to=ir.DataType.INT64)
    bad_before = op.CumSum(op.Concat([0], bad, axis=0), 0)  # [tokens + 1]
    all_good = op.Equal(op.Gather(bad_before, ends), op.Gather(bad_before, starts))
    length = tokens if prefix_lengths is None else op.Add(tokens, prefix_lengths)
    fits = op.And(op.Greater(tokens, 0), op.LessOrEqual(length, max_tokens))
    admitted = op.And(all_good, fits)

    rows = op.Where(admitted, tokens, 1)
    row_ends = op.CumSum(rows, 0)
    row_starts = op.Sub(row_ends, rows)

    # A one at each text's first row; their running sum numbers the texts.
    flat = [-1]
    flat_starts = op.Reshape(row_starts, flat)
    total = op.ReduceSum(rows, keepdims=0)
    ones = op.ConstantOfShape(op.Shape(flat_starts), value=_one(1))
    none = op.ConstantOfShape(op.Reshape(total, [1]), value=_one(0))
    text = op.Sub(op.CumSum(op.ScatterElements(none, flat_starts, ones, axis=0), 0), 1)
    position = op.Sub(op.Range(0, total, 1), op.Gather(flat_starts, text))

    # A row reads its own token, or, in a text not admitted, the zero that is put behind the last one.
    source = op.Where(
        op.Gather(op.Reshape(admitted, flat), text),
        op.Add(op.Gather(op.Reshape(starts, flat), text), position),
        op.Shape(input_ids),
    )
    last = op.Reshape(op.Sub(row_ends, 1), flat)
    if even_rows:
        source, last = even(op, source, filler=op.Shape(input_ids)), even(op, last)
    return RaggedBatch(
        ids=op.Gather(op.Concat(input_ids, [0], axis=0), source),
        admitted=admitted,
        lengths=rows,
        starts=row_starts,
        last=last,
        even_rows=even_rows,
        text=text,
        position=position,
        prefix_lengths=None if prefix_lengths is None else op.Where(admitted, prefix_lengths, 0),
    )


def even(op: OpBuilder, index: ir.Value, *, filler: ir.Value | list[int] = [0]) -> ir.Value:  # noqa: B006
    """Append `filler [1]` to `index [n]` where n is odd, so that what it gathers has an even number of rows."""
    return op.Concat(index, op.Expand(filler, op.Mod(op.Shape(index), 2)), axis=0)


def _one(value: int) -> ir.TensorProtocol:
    return ir.Tensor(np.array([value], np.int64))
