"""Paged attention: the operator PagedAttention, ONNX Runtime's flash attention over packed rows on CUDA.

The operator is made for text generation: it writes keys and values into the blocks of a cache, finds them through a
block table, and lets queries attend to everything that a text has in the cache. Here nothing is carried from call to
call: the past is empty, and the graph makes a cache with room for one batch.

All layers use the same cache. Each layer overwrites the keys and values of the layer before, which are no longer
needed, because a layer starts when the layer before has finished. The operator changes its cache inputs in place. Its
cache outputs are left out: the operator insists that they share memory with the inputs, which a graph cannot promise.

Source: ONNX Runtime's contrib_ops/cuda/bert/paged_attention.cc and paged_attention_helper.h. A block holds a multiple
of 256 rows. A batch has at most 256 texts: releases from 1.26 on refuse more, earlier ones give wrong results.

The operator has to know the longest text on the processor, to choose a kernel and its grid. Releases from 1.29 on take
it as an input; without it, and in earlier releases, every layer copies the lengths back from the GPU and waits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnxscript import OpBuilder

from ..checkpoint.geometry import Geometry
from .attention_inputs import AttentionInputs
from .products import MICROSOFT
from .ragged_batch import RaggedBatch
from .rotary import RotaryTables

BLOCK_ROWS = 256  # rows in a block of the cache


@dataclass(frozen=True, slots=True)
class PagedAttention:
    """One batch's cache, and the indices into it. All values are INT32 except `pooled_rows` and the cache.

    Attributes:
        geometry: The model's sizes.
        rotary: Tables of the rotary embedding.
        pooled_rows: INT64 `[batch]`: each text's pooled row.
        cumulative_lengths: `[batch + 1]`: each text's first row, and at the end the number of rows.
        past_lengths: `[batch]`: zeros.
        block_table: `[batch, most blocks of a text]`: the indices of each text's blocks, in order. A text with fewer
            blocks repeats its last one.
        keys: The cache of keys, `[blocks, 256, kv_heads, head_dim]`, in the working type.
        values: The cache of values, likewise.
        metadata: `[2]` or `[3]`, on the processor: bounds on the new rows of a text, on all rows that it has in the
            cache, and from below on the rows of the longest text. All are that text's. None if the release does not
            take them.
    """

    geometry: Geometry
    rotary: RotaryTables
    pooled_rows: ir.Value
    cumulative_lengths: ir.Value
    past_lengths: ir.Value
    block_table: ir.Value
    keys: ir.Value
    values: ir.Value
    metadata: ir.Value | None

    @classmethod
    def of(
        cls, op: OpBuilder, batch: RaggedBatch, geometry: Geometry, rotary: RotaryTables, *, metadata_size: int
    ) -> PagedAttention:
        """Assign blocks of the cache to the texts, in order.

        Args:
            op: Builder of the graph.
            batch: The rows of each text.
            geometry: The model's sizes.
            rotary: Tables of the rotary embedding.
            metadata_size: Numbers in the operator's input `attention_metadata`; 0 if the release does not have it.
        """
        assert not batch.even_rows  # noqa: S101 - the row added for it would be taken for the last text's
        assert batch.numbers is not None  # noqa: S101 - the graph runs on CUDA
        blocks = op.Div(op.Add(batch.lengths, BLOCK_ROWS - 1), BLOCK_ROWS)  # [batch, 1]
        ends = op.CumSum(blocks, 0)
        most_blocks = op.ReduceMax(blocks, keepdims=0)
        column = op.Unsqueeze(op.Compress(batch.numbers, op.Less(batch.numbers, most_blocks)), [0])
        block_table = op.Add(op.Sub(ends, blocks), op.Min(column, op.Sub(blocks, 1)))

        flat = [-1]
        starts = op.Reshape(batch.starts, flat)
        cumulative_lengths = op.Concat([0], op.Add(starts, op.Reshape(batch.lengths, flat)), axis=0)
        longest = op.Cast(op.Reshape(op.ReduceMax(batch.lengths), flat), to=ir.DataType.INT32)  # [1]
        cache_shape = op.Concat(
            op.Reshape(op.ReduceSum(blocks, keepdims=0), flat),
            [BLOCK_ROWS, geometry.kv_heads, geometry.head_dim],
            axis=0,
        )

        def filled(value: int) -> ir.Value:
            return op.ConstantOfShape(cache_shape, value=ir.Tensor(np.array([value], rotary.dtype.numpy())))

        return cls(
            geometry,
            rotary,
            pooled_rows=batch.pooled_rows,
            cumulative_lengths=op.Cast(cumulative_lengths, to=ir.DataType.INT32),
            past_lengths=op.Cast(op.Mul(starts, 0), to=ir.DataType.INT32),
            block_table=op.Cast(block_table, to=ir.DataType.INT32),
            # The kernel multiplies parts of the cache that no row was written to by zero, so they must be finite.
            # Keys and values start with different numbers, because ONNX Runtime merges two identical constants.
            keys=filled(0),
            values=filled(1),
            metadata=op.Concat(*[longest] * metadata_size, axis=0) if metadata_size else None,
        )

    def attend(self, op: OpBuilder, inputs: AttentionInputs, *, pooled_only: bool) -> ir.Value:
        """Attend causally within each text; the operator applies the rotary embedding.

        Args:
            op: Builder of the graph.
            inputs: Queries, keys and values: separate and normalised, or side by side with the gains.
            pooled_only: Whether only each text's pooled row is wanted.

        Returns:
            `[rows, heads * head_dim]`, or `[batch, heads * head_dim]` if `pooled_only`.
        """
        operands = [
            inputs.query,
            inputs.key,
            inputs.value,
            self.keys,
            self.values,
            self.cumulative_lengths,
            self.past_lengths,
            self.block_table,
            self.rotary.cos,
            self.rotary.sin,
        ]
        attributes: dict[str, float] = {}
        if inputs.gains is not None:
            slot_mapping = head_sink = key_scale = value_scale = None
            operands += [slot_mapping, head_sink, *inputs.gains, key_scale, value_scale, self.metadata]
            attributes["qk_norm_epsilon"] = inputs.eps
        attended = op.PagedAttention(
            *operands,
            num_heads=self.geometry.heads,
            kv_num_heads=self.geometry.kv_heads,
            do_rotary=1,
            **attributes,
            _domain=MICROSOFT,
            _version=1,
        )
        attended.type = inputs.query.type  # onnxscript does not infer the types of ONNX Runtime's own operators
        return op.Gather(attended, self.pooled_rows) if pooled_only else attended

    def kept_rows(self, op: OpBuilder) -> None:
        """Return None: nothing is kept for later runs."""
