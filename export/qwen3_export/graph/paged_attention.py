"""Paged attention: the operator PagedAttention, ONNX Runtime's flash attention over packed rows on CUDA.

The operator is made for text generation: it writes keys and values into the blocks of a cache, finds them through a
block table, and lets queries attend to everything that a text has in the cache. Here the graph makes a cache with room
for one batch. The past of a text is its shared prefix, if it has one, and `paged_prefixes` copies it into the cache.

Without prefixes, all layers use the same cache. Each layer overwrites the keys and values of the layer before, which
are no longer needed, because a layer starts when the layer before has finished. The operator changes its cache inputs
in place. Its cache outputs are left out: the operator insists that they share memory with the inputs, which a graph
cannot promise.

Source: ONNX Runtime's contrib_ops/cuda/bert/paged_attention.cc and paged_attention_helper.h. A block holds a multiple
of 256 rows. A batch has at most 256 texts: releases from 1.26 on refuse more, earlier ones give wrong results.

The operator has to know the longest text on the processor, to choose a kernel and its grid. Releases from 1.29 on take
it as an input; without it, and in earlier releases, every layer copies the lengths back from the GPU and waits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from onnxscript import OpBuilder

from ..checkpoint.geometry import Geometry
from .attention_inputs import AttentionInputs
from .paged_prefixes import PagedPrefixes, no_rows
from .prefixes import PrefixInputs, row_size
from .products import MICROSOFT
from .ragged_batch import RaggedBatch
from .rotary import RotaryTables

BLOCK_ROWS = 256  # rows in a block of the cache
_SMALL = 64  # elements of a constant that ONNX Runtime leaves on the processor; its limit is 100


@dataclass(frozen=True, slots=True)
class PagedAttention:
    """The indices of one batch into a cache, and that cache. All values are INT32 unless stated.

    Attributes:
        geometry: The model's sizes.
        rotary: Tables of the rotary embedding.
        pooled_rows: INT64 `[batch]`: each text's pooled row.
        cumulative_lengths: `[batch + 1]`: each text's first row, and at the end the number of rows.
        past_lengths: `[batch]`: the tokens of each text's prefix; zeros if the graph does not share prefixes.
        block_table: `[batch, most blocks of a text]`: the indices of each text's blocks, in order. A text with fewer
            blocks repeats its last one.
        blocks: INT64 `[1]`, on the processor: the number of blocks.
        cache_shape: INT64 `[4]`, on the processor: the number of blocks, 256, kv_heads and head_dim.
        metadata: `[2]` or `[3]`, on the processor: bounds on the new rows of a text, on all rows that it has in the
            cache, and from below on the rows of the longest text. All are exact. None if the release does not take
            them.
        prefix_inputs: The graph's inputs for prefixes; None if it does not share them.
        caches: The keys and the values, `[blocks, 256, kv_heads, head_dim]` each, in the working type, for all layers;
            None if each layer has its own.
        prefixes: Makes the caches of the layers; None if all use the same.
    """

    geometry: Geometry
    rotary: RotaryTables
    pooled_rows: ir.Value
    cumulative_lengths: ir.Value
    past_lengths: ir.Value
    block_table: ir.Value
    blocks: ir.Value
    cache_shape: ir.Value
    metadata: ir.Value | None
    prefix_inputs: PrefixInputs | None
    caches: tuple[ir.Value, ir.Value] | None = None
    prefixes: PagedPrefixes | None = None

    @classmethod
    def of(
        cls,
        op: OpBuilder,
        batch: RaggedBatch,
        geometry: Geometry,
        rotary: RotaryTables,
        prefix_inputs: PrefixInputs | None,
        *,
        metadata_size: int,
    ) -> PagedAttention:
        """Assign blocks of a cache to the texts, in order. Before it can attend, it needs a cache.

        Args:
            op: Builder of the graph.
            batch: The rows of each text.
            geometry: The model's sizes.
            rotary: Tables of the rotary embedding.
            prefix_inputs: The graph's inputs for prefixes; None if it does not share them.
            metadata_size: Numbers in the operator's input `attention_metadata`; 0 if the release does not have it.
        """
        assert not batch.even_rows  # noqa: S101 - the row added for it would be taken for the last text's
        assert batch.numbers is not None  # noqa: S101 - the graph runs on CUDA
        flat = [-1]
        past, lengths, numbers = batch.prefix_lengths, batch.lengths, batch.numbers
        if past is not None:
            lengths = op.Add(lengths, past)  # [batch, 1]
        blocks = op.Div(op.Add(lengths, BLOCK_ROWS - 1), BLOCK_ROWS)  # [batch, 1]
        ends = op.CumSum(blocks, 0)
        most_blocks = op.ReduceMax(blocks, keepdims=0)
        if past is not None:  # with its prefix, a text may have more blocks than the batch has rows
            size = op.Shape(numbers)
            parts = range(0, -(-geometry.max_tokens // BLOCK_ROWS), _SMALL)
            numbers = op.Concat(numbers, *(op.Add(size, list(range(part, part + _SMALL))) for part in parts), axis=0)
        column = op.Unsqueeze(op.Compress(numbers, op.Less(numbers, most_blocks)), [0])
        block_table = op.Add(op.Sub(ends, blocks), op.Min(column, op.Sub(blocks, 1)))

        starts = op.Reshape(batch.starts, flat)
        cumulative_lengths = op.Concat([0], op.Add(starts, op.Reshape(batch.lengths, flat)), axis=0)

        def bound(values: ir.Value) -> ir.Value:
            return op.Cast(op.Reshape(op.ReduceMax(values), flat), to=ir.DataType.INT32)  # [1]

        metadata = None
        if metadata_size:
            longest = bound(lengths)
            most_new = longest if past is None else bound(batch.lengths)
            metadata = op.Concat(most_new, *[longest] * (metadata_size - 1), axis=0)
        total = op.Reshape(op.ReduceSum(blocks, keepdims=0), flat)
        past_lengths = op.Mul(starts, 0) if past is None else op.Reshape(past, flat)
        return cls(
            geometry,
            rotary,
            pooled_rows=batch.pooled_rows,
            cumulative_lengths=op.Cast(cumulative_lengths, to=ir.DataType.INT32),
            past_lengths=op.Cast(past_lengths, to=ir.DataType.INT32),
            block_table=op.Cast(block_table, to=ir.DataType.INT32),
            blocks=total,
            cache_shape=op.Concat(total, [BLOCK_ROWS, geometry.kv_heads, geometry.head_dim], axis=0),
            metadata=metadata,
            prefix_inputs=prefix_inputs,
        )

    def with_empty_cache(self, op: OpBuilder) -> PagedAttention:
        """Return it with one cache for all layers, for a batch without prefixes."""

        def filled(value: int) -> ir.Value:
            return op.ConstantOfShape(self.cache_shape, value=ir.Tensor(np.array([value], self.rotary.dtype.numpy())))

        # The kernel multiplies parts of the cache that no row was written to by zero, so they must be finite.
        # Keys and values start with different numbers, because ONNX Runtime merges two identical constants.
        return replace(self, caches=(filled(0), filled(1)))

    def with_prefixes(self, op: OpBuilder, *, keeps: bool) -> PagedAttention:
        """Return it with caches that begin with the prefixes; with `keeps`, this run also keeps rows for later ones."""
        assert self.prefix_inputs is not None  # noqa: S101 - the graph shares prefixes
        prefixes = PagedPrefixes.of(
            op,
            self.prefix_inputs,
            self.geometry,
            cumulative_lengths=self.cumulative_lengths,
            past_lengths=self.past_lengths,
            block_table=self.block_table,
            blocks=self.blocks,
            block_rows=BLOCK_ROWS,
            keeps=keeps,
        )
        return replace(self, prefixes=prefixes)

    def attend(self, op: OpBuilder, inputs: AttentionInputs, *, pooled_only: bool) -> ir.Value:
        """Attend causally within each text; the operator applies the rotary embedding.

        Args:
            op: Builder of the graph.
            inputs: Queries, keys and values: separate and normalised, or side by side with the gains.
            pooled_only: Whether only each text's pooled row is wanted.

        Returns:
            `[rows, heads * head_dim]`, or `[batch, heads * head_dim]` if `pooled_only`.
        """
        caches = self.caches if self.prefixes is None else self.prefixes.next_caches(op)
        assert caches is not None  # noqa: S101 - it was given a cache
        operands = [
            inputs.query,
            inputs.key,
            inputs.value,
            *caches,
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
        if self.prefixes is not None:
            self.prefixes.after(op, attended, caches)
        return op.Gather(attended, self.pooled_rows) if pooled_only else attended

    def kept_rows(self, op: OpBuilder) -> ir.Value | None:
        """Return the rows that the host asks for, after all layers have attended; None if the graph keeps none."""
        if self.prefix_inputs is None:
            return None
        if self.prefixes is None:
            return no_rows(op, row_size(self.geometry), self.prefix_inputs.dtype)
        return self.prefixes.kept_rows(op)
