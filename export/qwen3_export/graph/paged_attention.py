"""Attention over packed rows: PagedAttention, ONNX Runtime's flash attention for ragged batches on CUDA.

The operator is made for generation: it puts keys and values into the blocks of a cache, finds them through a table,
and reads queries against all that a text has there. Here nothing is cached from call to call: the past is empty, and
the cache is made in the graph with room for the batch.

One cache serves all layers. Each writes its keys and values over those of the layer before, which has been read by
then, because a layer's input is the output of the layer before. The operator changes its inputs in place; its outputs
for the cache are left out, since a graph cannot promise that they share memory with the inputs, which it insists on.

Source: ONNX Runtime's contrib_ops/cuda/bert/paged_attention.cc and paged_attention_helper.h. Blocks are a multiple of
256 rows, and a batch has at most 256 texts: from 1.26 on more are refused, before they silently go wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnxscript import OpBuilder

from ..checkpoint.geometry import Geometry
from .heads import Heads, RotaryTables
from .products import MICROSOFT
from .ragged_batch import RaggedBatch

BLOCK = 256  # rows


@dataclass(frozen=True, slots=True)
class PagedAttention:
    """One batch's cache. All but the cache is INT32.

    Attributes:
        geometry: The model's sizes.
        rotary: Tables of the rotary embedding.
        last: INT64 `[batch]`: each text's last row.
        cumulative: `[batch + 1]`: each text's first row, and the number of rows.
        past: `[batch]`: zeros.
        table: `[batch, most blocks of a text]`: each text's blocks, in order. A text with fewer repeats its last.
        keys: `[blocks, 256, kv_heads, head_dim]`, of the working type.
        values: Likewise.
    """

    geometry: Geometry
    rotary: RotaryTables
    last: ir.Value
    cumulative: ir.Value
    past: ir.Value
    table: ir.Value
    keys: ir.Value
    values: ir.Value

    @classmethod
    def of(cls, op: OpBuilder, batch: RaggedBatch, geometry: Geometry, rotary: RotaryTables) -> PagedAttention:
        """Lay out the cache, text by text."""
        assert not batch.even_rows  # noqa: S101 - a row of no text would count for the last one
        blocks = op.Div(op.Add(batch.lengths, BLOCK - 1), BLOCK)  # [batch, 1]
        ends = op.CumSum(blocks, 0)
        columns = op.Unsqueeze(op.Range(0, op.ReduceMax(blocks, keepdims=0), 1), [0])
        table = op.Add(op.Sub(ends, blocks), op.Min(columns, op.Sub(blocks, 1)))

        flat = [-1]
        starts = op.Reshape(batch.starts, flat)
        cumulative = op.Concat(starts, op.Shape(batch.ids), axis=0)
        shape = op.Concat(
            op.Reshape(op.ReduceSum(blocks, keepdims=0), flat), [BLOCK, geometry.kv_heads, geometry.head_dim], axis=0
        )

        def filled(value: int) -> ir.Value:
            return op.ConstantOfShape(shape, value=ir.Tensor(np.array([value], rotary.dtype.numpy())))

        return cls(
            geometry,
            rotary,
            last=batch.last,
            cumulative=op.Cast(cumulative, to=ir.DataType.INT32),
            past=op.ConstantOfShape(op.Shape(starts), value=ir.Tensor(np.array([0], np.int32))),
            table=op.Cast(table, to=ir.DataType.INT32),
            # Filled, because what no row overwrites is multiplied by zero, and must be finite for that. Filled with
            # different values, because ONNX Runtime makes one tensor of two that are the same.
            keys=filled(0),
            values=filled(1),
        )

    def attend(self, op: OpBuilder, heads: Heads, *, last_only: bool) -> ir.Value:
        """Causal attention within each text; the rotary embedding happens inside.

        Args:
            op: Builder of the graph.
            heads: Queries, keys and values, apart and normalised or together with their gains.
            last_only: Whether only each text's last row is wanted.

        Returns:
            `[rows, heads * head_dim]`, or `[batch, heads * head_dim]`.
        """
        inputs = [
            heads.query,
            heads.key,
            heads.value,
            self.keys,
            self.values,
            self.cumulative,
            self.past,
            self.table,
            self.rotary.cos,
            self.rotary.sin,
        ]
        attributes: dict[str, float] = {}
        if heads.gains is not None:
            no_slots, no_sink = None, None
            inputs += [no_slots, no_sink, *heads.gains]
            attributes["qk_norm_epsilon"] = heads.eps
        attended = op.PagedAttention(
            *inputs,
            num_heads=self.geometry.heads,
            kv_num_heads=self.geometry.kv_heads,
            do_rotary=1,
            **attributes,
            _domain=MICROSOFT,
            _version=1,
        )
        attended.type = heads.query.type  # onnxscript knows no types of ONNX Runtime's own operators
        return op.Gather(attended, self.last) if last_only else attended

    def kept_rows(self, op: OpBuilder) -> None:
        """Nothing is kept for later runs."""
