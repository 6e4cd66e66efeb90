"""A loop over the texts of a batch, which runs the same operators on the rows of one text at a time.

What an operator makes of a text then cannot depend on the batch: it never sees another text, and no padding. The price
is a few calls of operators for every text, which is little beside the products of its rows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from onnxscript import OpBuilder

from .ragged_batch import RaggedBatch

PerText = Callable[..., ir.Value]
_FLOAT = ir.TensorType(ir.DataType.FLOAT)


def joined_rows(op: OpBuilder, batch: RaggedBatch, compute: PerText, *tensors: ir.Value) -> ir.Value:
    """Compute rows for each text and put them one after another.

    Args:
        op: Builder of the graph.
        batch: Which rows belong to each text.
        compute: Builds the operators for one text from its rows of each of `tensors`, `[n_i, ...]`, and returns
            `[n_i, ...]`.
        tensors: FP32 `[rows, ...]`.

    Returns:
        FP32 `[sum(n_i), ...]`.
    """
    sequence = ir.SequenceType(_FLOAT)

    def body(op: OpBuilder, index: ir.Value, proceed: ir.Value, results: ir.Value) -> tuple[ir.Value, ir.Value]:
        # A sequence holds references, so that appending to it copies no earlier result.
        return op.Identity(proceed), op.SequenceInsert(results, compute(op, *_rows(op, batch, index, tensors)))

    graph = op.builder.subgraph(
        body, inputs=[*_loop_state(), ir.Value(name="results", type=sequence)], outputs=[_proceed(), _result(sequence)]
    )
    results = op.Loop(_texts(op, batch), _always(op), op.SequenceEmpty(dtype=ir.DataType.FLOAT), body=graph)
    rows = op.ConcatFromSequence(results, axis=0)
    rows.type = _FLOAT  # onnxscript does not infer types through a loop
    return rows


def stacked_rows(op: OpBuilder, batch: RaggedBatch, compute: PerText, *tensors: ir.Value) -> ir.Value:
    """Compute one row for each text.

    Args:
        op: Builder of the graph.
        batch: Which rows belong to each text.
        compute: As for `joined_rows`, but it returns `[size]`.
        tensors: FP32 `[rows, ...]`.

    Returns:
        FP32 `[batch, size]`.
    """

    def body(op: OpBuilder, index: ir.Value, proceed: ir.Value) -> tuple[ir.Value, ir.Value]:
        return op.Identity(proceed), compute(op, *_rows(op, batch, index, tensors))

    graph = op.builder.subgraph(body, inputs=_loop_state(), outputs=[_proceed(), _result(_FLOAT)])
    rows = op.Loop(_texts(op, batch), _always(op), body=graph)
    rows.type = _FLOAT
    return rows


def _rows(op: OpBuilder, batch: RaggedBatch, index: ir.Value, tensors: tuple[ir.Value, ...]) -> list[ir.Value]:
    """Return the rows of one text."""
    start = op.Gather(batch.starts, index)  # [1]
    end = op.Add(start, op.Gather(batch.lengths, index))
    return [op.Slice(tensor, start, end, [0]) for tensor in tensors]


def _texts(op: OpBuilder, batch: RaggedBatch) -> ir.Value:
    return op.Size(batch.lengths)


def _always(op: OpBuilder) -> ir.Value:
    """Return the condition of a loop that never ends early."""
    return op.Constant(value=ir.tensor(np.array(1, np.bool_)))


def _loop_state() -> list[ir.Value]:
    return [
        ir.Value(name="text", type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([])),
        ir.Value(name="proceed", type=ir.TensorType(ir.DataType.BOOL), shape=ir.Shape([])),
    ]


def _proceed() -> ir.Value:
    return ir.Value(name="proceed_out", type=ir.TensorType(ir.DataType.BOOL), shape=ir.Shape([]))


def _result(kind: ir.TypeProtocol) -> ir.Value:
    return ir.Value(name="result", type=kind)
