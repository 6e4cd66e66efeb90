"""The type that matrix products and attention compute in, and conversion between it and float32."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from onnxscript import OpBuilder

from ..checkpoint.stored_tensor import StoredTensor
from ..precision import Precision
from .products import BLOCK_BITS, HALF, FloatProduct, Products, products


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """The working type of products and attention; the residual stream and its norms are float32 in every precision.

    Attributes:
        precision: The precision of the export.
    """

    precision: Precision

    @property
    def dtype(self) -> ir.DataType:
        """The working type: a half precision, or float32."""
        return HALF.get(self.precision, ir.DataType.FLOAT)

    @property
    def even_rows(self) -> bool:
        """Whether products are batch-invariant only for an even number of rows; `BlockProduct` says why."""
        return self.precision in BLOCK_BITS

    def products(self, *parts: StoredTensor) -> Products:
        """Return the products of one input with each matrix; inputs and outputs have the working type."""
        return products(self.precision, *parts)

    def joined_product(self, *parts: StoredTensor) -> FloatProduct:
        """Return the product of one input with all matrices, whose results lie side by side; half precisions only."""
        return FloatProduct(*parts, dtype=HALF[self.precision])

    def enter(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        """Convert from float32 to the working type."""
        return x if self.dtype == ir.DataType.FLOAT else op.Cast(x, to=self.dtype)

    def leave(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        """Convert from the working type to float32."""
        return x if self.dtype == ir.DataType.FLOAT else op.Cast(x, to=ir.DataType.FLOAT)
