"""Shared prefixes for paged attention: into the pages of each text, and out of them.

A page holds keys and values as attention reads them: normalised, rotated and in the working type. So do the rows that
the host keeps: `prefix_rows`, a table of all of them, which stays in the GPU's memory from run to run. A page is longer
than most prefixes and holds rows of one text only, so prefixes are copied into it. Each layer gathers its whole cache
from the table: rows after the prefix get any row of the table, and PagedAttention overwrites those that the text uses.

PagedAttention changes its cache where it lies, and ONNX Runtime does not know of it. Rows to keep must be gathered
after it has. And whatever a later layer needs must wait, else ONNX Runtime would make the caches of all layers first,
and hold them. Therefore shapes that these steps read are computed from the number of rows of what must come before,
times zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from onnxscript import OpBuilder

from ..checkpoint.geometry import Geometry
from .prefixes import PrefixInputs, row_size


@dataclass(slots=True)
class PagedPrefixes:
    """The prefixes of one batch.

    Attributes:
        geometry: The model's sizes.
        inputs: The graph's inputs.
        parts: The keys and then the values of each layer in the table, `[prefix_rows, kv_heads, head_dim]` each. What
            a layer has taken is removed.
        page_rows: INT64 `[blocks, block_rows]`: for each row of the cache, a row of the table.
        kept_slots: INT64 `[kept]`: the rows of the cache that are kept, of the cache as `[rows, kv_heads, head_dim]`;
            None if this run keeps nothing.
        row_shape: INT64 `[3]`: -1, kv_heads and head_dim. It is computed anew whenever something has to wait.
        kept: The keys and values that are kept, layer by layer, while the graph is built.
    """

    geometry: Geometry
    inputs: PrefixInputs
    parts: list[ir.Value]
    page_rows: ir.Value
    kept_slots: ir.Value | None
    row_shape: ir.Value
    kept: list[ir.Value] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        op: OpBuilder,
        inputs: PrefixInputs,
        geometry: Geometry,
        *,
        cumulative_lengths: ir.Value,
        past_lengths: ir.Value,
        block_table: ir.Value,
        blocks: ir.Value,
        block_rows: int,
        keeps: bool,
    ) -> PagedPrefixes:
        """Compute the indices, from values that PagedAttention takes, which are on the GPU already.

        Args:
            op: Builder of the graph.
            inputs: The graph's inputs. There is at least one row in the table, unless `keeps`.
            geometry: The model's sizes.
            cumulative_lengths: INT32 `[batch + 1]`.
            past_lengths: INT32 `[batch]`.
            block_table: INT32 `[batch, most blocks of a text]`.
            blocks: INT64 `[1]`, on the processor: the number of blocks.
            block_rows: Rows of a block.
            keeps: Whether this run keeps rows.
        """
        g = geometry
        row_shape = op.Constant(value=ir.tensor(np.array([-1, g.kv_heads, g.head_dim], np.int64)))
        table = op.Reshape(inputs.rows, [-1, 2 * g.layers * g.kv_heads, g.head_dim])
        kept_slots = None
        if keeps:
            # The table may still be empty, and a gather needs a row to read.
            zeros = np.zeros((1, 2 * g.layers * g.kv_heads, g.head_dim), inputs.dtype.numpy())
            zero = op.Expand(op.Cast(0.0, to=inputs.dtype), list(zeros.shape))
            zero.type = ir.TensorType(inputs.dtype)
            table = op.Concat(table, zero, axis=0)
            kept_slots = _slots(op, inputs.keep, cumulative_lengths, past_lengths, block_table, block_rows)
        parts = op.Split(table, axis=1, num_outputs=2 * g.layers, _outputs=2 * g.layers)
        last_row = op.Sub(op.Shape(table, start=0, end=1), 1)
        return cls(
            g,
            inputs,
            list(parts),
            page_rows=_page_rows(op, inputs.starts, block_table, blocks, last_row, block_rows),
            kept_slots=kept_slots,
            row_shape=row_shape,
        )

    def next_caches(self, op: OpBuilder) -> tuple[ir.Value, ir.Value]:
        """Return the caches of the next layer, keys and values, `[blocks, block_rows, kv_heads, head_dim]` each."""
        keys, values = (op.Gather(op.Reshape(self.parts.pop(0), self.row_shape), self.page_rows) for _ in range(2))
        return keys, values

    def after(self, op: OpBuilder, attended: ir.Value, caches: Sequence[ir.Value]) -> None:
        """Go on after a layer has attended: gather what is kept from its caches, and let the next layer wait for it."""
        self._wait(op, attended)
        for cache in caches if self.kept_slots is not None else ():
            rows = op.Gather(op.Reshape(cache, self.row_shape), self.kept_slots)
            self.kept.append(rows)
            self._wait(op, rows)

    def kept_rows(self, op: OpBuilder) -> ir.Value:
        """Return the table that the host asks for, `[arranged, row_size]`; empty if this run keeps nothing."""
        size, dtype = row_size(self.geometry), self.inputs.dtype
        if self.kept_slots is None:
            return no_rows(op, size, dtype)
        new = op.Reshape(op.Concat(*self.kept, axis=1), [-1, size])
        rows = op.Gather(op.Concat(self.inputs.rows, new, axis=0), self.inputs.arrange)
        rows.type, rows.shape = ir.TensorType(dtype), ir.Shape(["arranged", size])
        return rows

    def _wait(self, op: OpBuilder, value: ir.Value) -> None:
        """Have whatever reads `row_shape` from now on run after `value` is computed."""
        self.row_shape = op.Add(self.row_shape, op.Mul(op.Shape(value, start=0, end=1), 0))


def no_rows(op: OpBuilder, size: int, dtype: ir.DataType) -> ir.Value:
    """Return a table without rows, `[0, size]`."""
    rows = op.ConstantOfShape([0, size], value=ir.Tensor(np.array([0], dtype.numpy())))
    rows.type, rows.shape = ir.TensorType(dtype), ir.Shape(["arranged", size])
    return rows


def _page_rows(
    op: OpBuilder, starts: ir.Value, block_table: ir.Value, blocks: ir.Value, last_row: ir.Value, block_rows: int
) -> ir.Value:
    """Return the row of the table for each row of the cache, INT64 `[blocks, block_rows]`."""
    table = op.Cast(block_table, to=ir.DataType.INT64)
    # Blocks of a text follow one another. One that is repeated at the end of a line gets the same number again.
    index_in_text = op.Sub(table, op.Slice(table, [0], [1], [1]))
    firsts = op.Add(op.Mul(index_in_text, block_rows), starts)  # [batch, most blocks]
    nothing = op.ConstantOfShape(blocks, value=ir.Tensor(np.array([0], np.int64)))
    first_of_block = op.ScatterElements(nothing, op.Reshape(table, [-1]), op.Reshape(firsts, [-1]), axis=0)
    columns = op.Constant(value=ir.tensor(np.arange(block_rows)[None]))
    return op.Min(op.Add(op.Unsqueeze(first_of_block, [1]), columns), last_row)


def _slots(
    op: OpBuilder,
    keep: ir.Value,
    cumulative_lengths: ir.Value,
    past_lengths: ir.Value,
    block_table: ir.Value,
    block_rows: int,
) -> ir.Value:
    """Return the row of the cache where each row to keep of this run lies, INT64 `[kept]`."""
    cumulative, past, table = (
        op.Cast(value, to=ir.DataType.INT64) for value in (cumulative_lengths, past_lengths, block_table)
    )
    ends = op.Slice(cumulative, [1], [np.iinfo(np.int64).max], [0])
    is_after = op.GreaterOrEqual(op.Unsqueeze(keep, [1]), ends)  # [kept, batch]
    # The number of texts that end before: a product, because ONNX Runtime 1.27 sums integers with kernels of cuDNN.
    ones = op.Cast(op.GreaterOrEqual(ends, 0), to=ir.DataType.FLOAT)  # [batch]
    text = op.Cast(op.MatMul(op.Cast(is_after, to=ir.DataType.FLOAT), ones), to=ir.DataType.INT64)
    position = op.Add(op.Sub(keep, op.Gather(cumulative, text)), op.Gather(past, text))
    column = op.Div(position, block_rows)
    index = op.Add(op.Mul(text, op.Shape(table, start=1, end=2)), column)
    block = op.Gather(op.Reshape(table, [-1]), index)
    return op.Add(op.Mul(block, block_rows), op.Sub(position, op.Mul(column, block_rows)))
