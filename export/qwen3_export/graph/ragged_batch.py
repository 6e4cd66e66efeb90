"""The ragged batch: which texts are admitted, and which rows belong to each.

Texts are concatenated, never padded: `[rows, ...]`. This module computes what all forms of attention need; what only
one of them needs is in the module of that form, such as `padded_attention`.

Admission: Triton runs the texts of many clients in one call, so one bad text must not make the call fail. A text that
is empty, too long, or holds an id outside the vocabulary is replaced by a single row of id 0, and its result by NaN.

On a GPU, integers that decide about shapes are computed on the processor: read back from the GPU, each would make the
processor wait for it. `on_host` anchors them there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from onnxscript import OpBuilder


@dataclass(frozen=True, slots=True)
class RaggedBatch:
    """The rows of each text. All values are INT64 unless stated, computed in the graph from ids and lengths.

    Attributes:
        ids: `[rows]`: the token id of each row, inside the vocabulary. With `even_rows` there may be one row more,
            which belongs to no text.
        admitted: BOOL `[batch, 1]`: which texts are admitted. A text that is not has one row of id 0.
        lengths: `[batch, 1]`: how many rows each text has, at least one.
        starts: `[batch, 1]`: each text's first row.
        pooled_rows: `[batch]`: the row of each text that is pooled, its last or its first one. With `even_rows` there
            may be one element more.
        even_rows: Whether products need an even number of rows, for which `even` lengthens indices of rows.
        text_index: `[rows]`: which text each row belongs to.
        position: `[rows]`: each row's index among its text's rows, from 0.
        numbers: `[tokens + batch]`: 0, 1, 2 and so on, on the processor of a machine with a GPU; None on CPUs.
        prefix_lengths: `[batch, 1]`: tokens of each text's prefix, whose keys and values come from earlier runs; None
            if the graph does not share prefixes.
    """

    ids: ir.Value
    admitted: ir.Value
    lengths: ir.Value
    starts: ir.Value
    pooled_rows: ir.Value
    even_rows: bool
    text_index: ir.Value
    position: ir.Value
    numbers: ir.Value | None
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
    pools_first: bool = False,
    host_indices: bool = False,
) -> RaggedBatch:
    """Admit the texts and assign rows to them.

    Args:
        op: Builder of the graph.
        input_ids: INT64 `[tokens]`, any values.
        lengths: INT32 `[batch, 1]`, as Triton's BATCH_ITEM_SHAPE delivers them; they sum to `tokens`.
        prefix_lengths: INT64 `[batch, 1]` or `[1, 1]`, see `prefixes`; None if the graph does not share prefixes.
        vocabulary: Size of the vocabulary: ids from 0 up to this, exclusive, are admitted.
        max_tokens: Longest text admitted, its prefix included.
        even_rows: Whether every product must see an even number of rows.
        pools_first: Whether a text's first row is pooled instead of its last one.
        host_indices: Whether the graph runs on a GPU, and what is computed here is to stay on the processor.
    """
    if host_indices:
        input_ids, lengths = on_host(op, input_ids, lengths)
    tokens = op.Cast(lengths, to=ir.DataType.INT64)  # [batch, 1], like all values down to `row_starts`
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

    # Put a one at each text's first row and zeros elsewhere; the running sum, minus one, is the index of the text.
    flat = [-1]
    flat_starts = op.Reshape(row_starts, flat)
    total = op.ReduceSum(rows, keepdims=0)
    if host_indices:
        batch = _host_batch(op, input_ids, lengths, starts, admitted, rows, row_starts, row_ends, total, pools_first)
        if prefix_lengths is None:
            return batch
        return replace(batch, prefix_lengths=op.Where(admitted, prefix_lengths, 0))
    ones = op.ConstantOfShape(op.Shape(flat_starts), value=_int64(1))
    zeros = op.ConstantOfShape(op.Reshape(total, [1]), value=_int64(0))
    text_index = op.Sub(op.CumSum(op.ScatterElements(zeros, flat_starts, ones, axis=0), 0), 1)
    position = op.Sub(op.Range(0, total, 1), op.Gather(flat_starts, text_index))

    # Each row takes its own token. The row of a text that is not admitted takes the zero appended to the ids below.
    token_index = op.Where(
        op.Gather(op.Reshape(admitted, flat), text_index),
        op.Add(op.Gather(op.Reshape(starts, flat), text_index), position),
        op.Shape(input_ids),
    )
    pooled_rows = flat_starts if pools_first else op.Reshape(op.Sub(row_ends, 1), flat)
    if even_rows:
        token_index, pooled_rows = even(op, token_index, filler=op.Shape(input_ids)), even(op, pooled_rows)
    return RaggedBatch(
        ids=op.Gather(op.Concat(input_ids, [0], axis=0), token_index),
        admitted=admitted,
        lengths=rows,
        starts=row_starts,
        pooled_rows=pooled_rows,
        even_rows=even_rows,
        text_index=text_index,
        position=position,
        numbers=None,
        prefix_lengths=None if prefix_lengths is None else op.Where(admitted, prefix_lengths, 0),
    )


def on_host(op: OpBuilder, input_ids: ir.Value, lengths: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return the graph's inputs unchanged, as values that a GPU's provider leaves on the processor.

    ONNX Runtime keeps an operator on the processor if all its inputs are there: results of Shape, what was computed
    from them, small constants and the graph's inputs. It does not for operators that read an input on the processor
    anyway, such as Range and ConstantOfShape. Source: core/framework/fallback_cpu_capability.cc.
    """
    # The anchor is the shape of `lengths`, because what Shape reads is copied to the GPU, and lengths are few. No
    # length is below it, and what a negative id becomes is still negative.
    anchor = op.Neg(op.Shape(lengths, start=0, end=1))
    return op.Max(input_ids, anchor), op.Max(lengths, op.Cast(anchor, to=ir.DataType.INT32))


def _host_batch(
    op: OpBuilder,
    input_ids: ir.Value,
    lengths: ir.Value,
    starts: ir.Value,
    admitted: ir.Value,
    rows: ir.Value,
    row_starts: ir.Value,
    row_ends: ir.Value,
    total: ir.Value,
    pools_first: bool,  # noqa: FBT001
) -> RaggedBatch:
    """Assign rows to the texts with operators that stay on the processor, and with few of them.

    Range and ConstantOfShape would compute on the GPU, Gather takes 20 ns for an element. So each index is the running
    sum of a vector that is as long as all tokens and texts, with steps at the first rows of texts. What is beyond the
    last row is cut off at the end, on the GPU.
    """
    flat = [-1]
    flat_starts = op.Reshape(row_starts, flat)
    ones_of_texts = op.Add(op.Mul(op.Cast(op.Reshape(lengths, flat), to=ir.DataType.INT64), 0), 1)
    ones = op.Concat(op.Add(op.Mul(input_ids, 0), 1), ones_of_texts, axis=0)  # [tokens + batch]
    numbers = op.Sub(op.CumSum(ones, 0), 1)

    def rows_of(values: ir.Value) -> ir.Value:
        return op.Slice(values, [0], op.Reshape(total, [1]), [0])

    def differences(values: ir.Value) -> ir.Value:
        """Return each value minus the one before it, the first minus 0; `[batch]`."""
        before = op.Gather(op.Concat([0], values, axis=0), op.Sub(op.CumSum(ones_of_texts, 0), 1))
        return op.Sub(values, before)

    # Each row takes its own token. The row of a text that is not admitted takes the zero appended to the ids.
    appended = op.Shape(input_ids)
    shift = op.Sub(op.Reshape(op.Where(admitted, starts, appended), flat), flat_starts)
    steps = op.ScatterElements(op.Mul(numbers, 0), flat_starts, differences(shift), axis=0)
    token_index = op.Min(op.Add(numbers, op.CumSum(steps, 0)), appended)
    firsts = op.ScatterElements(op.Mul(numbers, 0), flat_starts, ones_of_texts, axis=0)
    text_index = op.Sub(op.CumSum(firsts, 0), 1)
    return RaggedBatch(
        ids=rows_of(op.Gather(op.Concat(input_ids, [0], axis=0), token_index)),
        admitted=admitted,
        lengths=rows,
        starts=row_starts,
        pooled_rows=flat_starts if pools_first else op.Reshape(op.Sub(row_ends, 1), flat),
        even_rows=False,
        text_index=rows_of(text_index),
        position=rows_of(op.Sub(numbers, op.Gather(flat_starts, text_index))),
        numbers=numbers,
        prefix_lengths=None,
    )


def even(op: OpBuilder, index: ir.Value, *, filler: ir.Value | list[int] = [0]) -> ir.Value:  # noqa: B006
    """Append `filler [1]` to `index [n]` if n is odd, so that gathering by it gives an even number of rows."""
    return op.Concat(index, op.Expand(filler, op.Mod(op.Shape(index), 2)), axis=0)


def _int64(value: int) -> ir.TensorProtocol:
    return ir.Tensor(np.array([value], np.int64))
