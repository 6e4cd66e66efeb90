"""Shared prefixes: keys and values that a run takes from an earlier one instead of computing them again.

An instruction stands before every query, a reranker's prompt before every document. In a causal model their rows do not
depend on what follows, so the host may ask for the keys and values of some rows, and pass them in later for texts that
begin with the same tokens. Such a text then consists of its own rows alone, everywhere but in attention.

All of it is optional: every input has a default, with which nothing is taken over and nothing is kept.
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
    """Inputs of the graph. What is not fed is empty, or zero for all texts.

    Attributes:
        rows: `prefix_rows` FP32 `[prefix_rows, size]`: rows of `kept` from earlier runs. A row holds a token's
            keys and values in all layers, `size = layers * 2 * kv_heads * head_dim`; keys are normalised, and not
            rotated yet.
        starts: `prefix_starts` INT64 `[batch, 1]`: where in `rows` each text's prefix begins.
        lengths: `prefix_lengths` INT64 `[batch, 1]`: how many tokens it has, 0 for none. They are not among
            `input_ids`.
        keep: `keep` INT64 `[kept]`: which rows of this run `kept` shall hold; all texts must be admissible then.
    """

    rows: ir.Value
    starts: ir.Value
    lengths: ir.Value
    keep: ir.Value

    @classmethod
    def declare(cls, builder: GraphBuilder, geometry: Geometry) -> PrefixInputs:
        """Add the inputs to the graph."""
        size = _size(geometry)

        def optional(name: str, shape: Sequence[str | int], default: npt.NDArray[np.generic]) -> ir.Value:
            value = builder.input(name, ir.DataType.from_numpy(default.dtype), shape)
            value.const_value = ir.Tensor(default, name=name)
            builder.graph.register_initializer(value)
            return value

        none = np.zeros((1, 1), np.int64)  # one for all texts of a batch
        return cls(
            rows=optional("prefix_rows", ["prefix_rows", size], np.zeros((0, size), np.float32)),
            starts=optional("prefix_starts", ["batch_or_1", 1], none),
            lengths=optional("prefix_lengths", ["batch_or_1", 1], none),
            keep=optional("keep", ["kept"], np.zeros(0, np.int64)),
        )


@dataclass(frozen=True, slots=True)
class SharedPrefixes:
    """The prefixes of one batch, as attention's rectangle takes them.

    Attributes:
        to_padded: INT64 `[batch, width]`: for each slot of the rectangle its row among the prefixes' rows, followed
            by the batch's own.
        rows: FP32 `[prefix_rows, layers * 2, kv_heads * head_dim]`.
        keep: INT64 `[kept]`: which of the batch's own rows to keep.
        size: Values of a row to keep.
        kept: Each layer's keys and values, in turn, of the rows to keep; filled while layers are built, in order.
    """

    to_padded: ir.Value
    rows: ir.Value
    keep: ir.Value
    size: int
    kept: list[ir.Value] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        op: OpBuilder,
        inputs: PrefixInputs,
        lengths: ir.Value,
        columns: ir.Value,
        own_to_padded: ir.Value,
        geometry: Geometry,
    ) -> SharedPrefixes:
        """Find the rows.

        Args:
            op: Builder of the graph.
            inputs: What the graph was fed.
            lengths: INT64 `[batch, 1]`: tokens of each text's prefix.
            columns: INT64 `[1, width]`: numbers of the rectangle's columns.
            own_to_padded: INT64 `[batch, width]`: for each slot that is no prefix's its row among the batch's own.
            geometry: The model's sizes.
        """
        own = op.Add(own_to_padded, op.Shape(inputs.rows, start=0, end=1))
        return cls(
            to_padded=op.Where(op.Less(columns, lengths), op.Add(inputs.starts, columns), own),
            rows=op.Reshape(inputs.rows, [-1, 2 * geometry.layers, geometry.kv_heads * geometry.head_dim]),
            keep=inputs.keep,
            size=_size(geometry),
        )

    def padded(self, op: OpBuilder, own: ir.Value) -> ir.Value:
        """Keys or values in the rectangle, those of prefixes among them; what is to be kept is kept.

        To be called for each layer's keys, then its values, layer by layer.

        Args:
            op: Builder of the graph.
            own: Of the batch's own rows, `[rows, kv_heads * head_dim]`.

        Returns:
            `[batch, width, kv_heads * head_dim]`.
        """
        prefixes = op.Gather(self.rows, len(self.kept), axis=1)  # [prefix_rows, kv_heads * head_dim]
        self.kept.append(op.Gather(own, self.keep))
        # What is kept is joined where no slot looks, for attention to wait for it. ONNX Runtime would gather it last of
        # all, and every layer's keys and values would live until then.
        return op.Gather(op.Concat(prefixes, own, self.kept[-1], axis=0), self.to_padded)

    def kept_rows(self, op: OpBuilder) -> ir.Value:
        """FP32 `[kept, size]`: the rows to keep, as `rows` takes them."""
        rows = op.Concat(*self.kept, axis=1)
        rows.type, rows.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(["kept", self.size])
        return rows


def _size(geometry: Geometry) -> int:
    """Values of a row: a token's keys and values in all layers."""
    return 2 * geometry.layers * geometry.kv_heads * geometry.head_dim
