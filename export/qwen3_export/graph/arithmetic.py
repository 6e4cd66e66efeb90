"""What products and attention compute in, and the way there and back from float32."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from onnxscript import OpBuilder

from ..checkpoint.stored_tensor import StoredTensor
from ..precision import Precision
from .products import BLOCK_BITS, HALF, Products, products


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """The working type of products and attention; the residual stream and its norms are float32 in every precision.

    Attributes:
        precision: As exported.
    """

    precision: Precision

    @property
    def dtype(self) -> ir.DataType:
        """The working type: a half precision, or float32."""
        return HALF.get(self.precision, ir.DataType.FLOAT)

    @property
    def even_rows(self) -> bool:
        """Whether products keep batch invariance only for an even number of rows: see `BlockProduct`."""
        return self.precision in BLOCK_BITS

    def products(self, *parts: StoredTensor) -> Products:
        """The products of one input with each matrix, from and to the working type."""
        return products(self.precision, *parts)

    def enter(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        """From float32 to the working type."""
        return x if self.dtype == ir.DataType.FLOAT else op.Cast(x, to=self.dtype)

    def leave(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        """From the working type to float32."""
        return x if self.dtype == ir.DataType.FLOAT else op.Cast(x, to=ir.DataType.FLOAT)
