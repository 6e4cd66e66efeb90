"""Shared prefixes: keys and values that a run takes over from an earlier run instead of computing them again.

The same instruction stands before every query, and the same prompt before every document that a reranker judges. In a
causal model the keys and values of these tokens do not depend on what follows. So the host can ask a run to return the
keys and values of some rows, and feed them to later runs for texts that begin with the same tokens. Of such a text, the
graph computes only the rows after the prefix; the prefix takes part in attention alone.

All of this is optional. Every input has a default, with which no text has a prefix and nothing is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnxscript import GraphBuilder, OpBuilder

from ..checkpoint.geometry import Geometry


@dataclass(frozen=True, slots=True)
class PrefixInputs:
    """Inputs of the graph. By default, `rows` and `keep` are empty, and `starts` and `lengths` are zero for all texts.

    Attributes:
        rows: `prefix_rows` `[prefix_rows, size]`, in the working type: rows of the output `kept` of earlier runs. A row
            holds the keys and values of one token in all layers, `size = layers * 2 * kv_heads * head_dim`. Keys are
            normalised, but for ragged attention; for paged attention they are rotated, for the other forms not yet.
        starts: `prefix_starts` INT64 `[batch, 1]`: the row of `rows` where each text's prefix begins.
        lengths: `prefix_lengths` INT64 `[batch, 1]`: tokens of each text's prefix, 0 for none. These tokens are not
            in `input_ids`.
        keep: `keep` INT64 `[kept]`: the rows of this run to return in `kept`. If there are any, all texts of the batch
            must be admissible.
        arrange: `arrange` INT64 `[arranged]`, for paged attention: what `kept` consists of, as indices into
            `prefix_rows` followed by the rows of `keep`. The host has no other means of moving rows within the GPU's
            memory: it asks for the next `prefix_rows`. None on CPUs, where `kept` has the rows of `keep`.
        dtype: The type of `rows`.
    """

    rows: ir.Value
    starts: ir.Value
    lengths: ir.Value
    keep: ir.Value
    arrange: ir.Value | None
    dtype: ir.DataType

    @classmethod
    def declare(cls, builder: GraphBuilder, geometry: Geometry, *, dtype: ir.DataType, is_paged: bool) -> PrefixInputs:
        """Add the inputs to the graph."""
        size = row_size(geometry)

        def optional(name: str, shape: Sequence[str | int], default: npt.NDArray[np.generic]) -> ir.Value:
            value = builder.input(name, ir.DataType.from_numpy(default.dtype), shape)
            value.const_value = ir.Tensor(default, name=name)
            builder.graph.register_initializer(value)
            return value

        zero = np.zeros((1, 1), np.int64)  # broadcast over all texts of a batch
        return cls(
            rows=optional("prefix_rows", ["prefix_rows", size], np.zeros((0, size), dtype.numpy())),
            starts=optional("prefix_starts", ["batch_or_1", 1], zero),
            lengths=optional("prefix_lengths", ["batch_or_1", 1], zero),
            keep=optional("keep", ["kept"], np.zeros(0, np.int64)),
            arrange=optional("arrange", ["arranged"], np.zeros(0, np.int64)) if is_paged else None,
            dtype=dtype,
        )


@dataclass(frozen=True, slots=True)
class SharedPrefixes:
    """The prefixes of one batch, for padded attention.

    Attributes:
        to_padded: INT64 `[batch, columns]`: for each position of the padded batch, an index into the prefix rows
            followed by the batch's own rows.
        rows: FP32 `[prefix_rows, layers * 2, kv_heads * head_dim]`.
        keep: INT64 `[kept]`: which of the batch's own rows to keep.
        row_size: Numbers in a row to keep.
        kept: The keys and values of the rows to keep, layer by layer. `padded` appends to it while the graph is built.
    """

    to_padded: ir.Value
    rows: ir.Value
    keep: ir.Value
    row_size: int
    kept: list[ir.Value] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        op: OpBuilder,
        inputs: PrefixInputs,
        lengths: ir.Value,
        column: ir.Value,
        own_to_padded: ir.Value,
        geometry: Geometry,
    ) -> SharedPrefixes:
        """Compute the indices.

        Args:
            op: Builder of the graph.
            inputs: The graph's inputs.
            lengths: INT64 `[batch, 1]`: tokens of each text's prefix.
            column: INT64 `[1, columns]`: 0, 1, 2, ..., the columns of the padded batch.
            own_to_padded: INT64 `[batch, columns]`: the batch's own row at each position that is not a prefix's.
            geometry: The model's sizes.
        """
        own = op.Add(own_to_padded, op.Shape(inputs.rows, start=0, end=1))
        return cls(
            to_padded=op.Where(op.Less(column, lengths), op.Add(inputs.starts, column), own),
            rows=op.Reshape(inputs.rows, [-1, 2 * geometry.layers, geometry.kv_heads * geometry.head_dim]),
            keep=inputs.keep,
            row_size=row_size(geometry),
        )

    def padded(self, op: OpBuilder, own: ir.Value) -> ir.Value:
        """Gather one layer's keys or values into the padded batch, those of prefixes included, and keep some.

        Call it for each layer's keys and then for its values, layer by layer.

        Args:
            op: Builder of the graph.
            own: Keys or values of the batch's own rows, `[rows, kv_heads * head_dim]`.

        Returns:
            `[batch, columns, kv_heads * head_dim]`.
        """
        prefixes = op.Gather(self.rows, len(self.kept), axis=1)  # [prefix_rows, kv_heads * head_dim]
        self.kept.append(op.Gather(own, self.keep))
        # The rows to keep are appended after all rows that `to_padded` refers to. Attention does not read them, but has
        # to wait for them: otherwise ONNX Runtime gathers them at the end of the run, and holds every layer's keys and
        # values until then.
        return op.Gather(op.Concat(prefixes, own, self.kept[-1], axis=0), self.to_padded)

    def kept_rows(self, op: OpBuilder) -> ir.Value:
        """Return the rows to keep, FP32 `[kept, row_size]`, in the form that `prefix_rows` takes."""
        rows = op.Concat(*self.kept, axis=1)
        rows.type, rows.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(["kept", self.row_size])
        return rows


def row_size(geometry: Geometry) -> int:
    """Return how many numbers a token's keys and values have in all layers."""
    return 2 * geometry.layers * geometry.kv_heads * geometry.head_dim
