"""The types that a model computes in, and conversion between them."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from onnxscript import OpBuilder

from ..checkpoint.stored_tensor import StoredTensor
from ..precision import QUANTIZED, Precision
from .products import BLOCK_BITS, HALF, FloatProduct, Products, products


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """The working type of products and attention, and the type of the residual stream and its norms.

    Attributes:
        precision: The precision of the export.
    """

    precision: Precision

    @property
    def dtype(self) -> ir.DataType:
        """The working type: a half precision, or float32."""
        return HALF.get(self.precision, ir.DataType.FLOAT)

    @property
    def stream(self) -> ir.DataType:
        """The type of the residual stream and of the gains of its norms: float32 in every precision but one."""
        return self.dtype if self.precision == "bf16-residual" else ir.DataType.FLOAT

    @property
    def even_rows(self) -> bool:
        """Whether products are batch-invariant only for an even number of rows; `BlockProduct` says why."""
        return self.precision in BLOCK_BITS

    @property
    def bf16_attention(self) -> bool:
        """Whether attention on a CPU may multiply in bfloat16: where products of int8 round more than that."""
        return self.precision in QUANTIZED

    def products(self, *parts: StoredTensor) -> Products:
        """Return the products of one input with each matrix; inputs and outputs have the working type."""
        return products(self.precision, *parts)

    def joined_product(self, *parts: StoredTensor) -> FloatProduct:
        """Return the product of one input with all matrices, whose results lie side by side; half precisions only."""
        return FloatProduct(*parts, dtype=HALF[self.precision])

    def enter(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        """Convert from the type of the residual stream to the working type."""
        return _converted(op, x, self.stream, self.dtype)

    def leave(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        """Convert from the working type to the type of the residual stream."""
        return _converted(op, x, self.dtype, self.stream)

    def widen(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        """Convert from the working type to float32."""
        return _converted(op, x, self.dtype, ir.DataType.FLOAT)

    def narrow(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        """Convert from float32 to the working type."""
        return _converted(op, x, ir.DataType.FLOAT, self.dtype)

    def widen_stream(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        """Convert from the type of the residual stream to float32."""
        return _converted(op, x, self.stream, ir.DataType.FLOAT)


def _converted(op: OpBuilder, x: ir.Value, found: ir.DataType, wanted: ir.DataType) -> ir.Value:
    return x if found == wanted else op.Cast(x, to=wanted)
