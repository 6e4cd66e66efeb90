"""The matrix products of the model, one class a precision.

A product knows how its weights are stored and how it multiplies; it knows nothing about the layer it serves.
Weights are read when the file is written, one matrix at a time: see ``onnx_ir.LazyTensor``.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnxscript import OpBuilder, nn

from ._safetensors import StoredTensor

Precision = Literal["fp32", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")

MICROSOFT = "com.microsoft"  # ONNX Runtime's own operators


class Float32Product(nn.Module):
    """``x @ W.T`` in float32, for one or more checkpoint matrices side by side.

    Args:
        parts: Matrices ``[out_i, in]``; the product has ``sum(out_i)`` columns, in this order.
    """

    def __init__(self, *parts: StoredTensor) -> None:
        super().__init__()
        rows, columns = _transposed_shape(parts)

        def read() -> ir.TensorProtocol:
            return ir.Tensor(_read_transposed(parts))

        self.weight = nn.Parameter(
            [rows, columns], data=ir.LazyTensor(read, ir.DataType.FLOAT, ir.Shape([rows, columns]))
        )

    def forward(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        """Multiply ``x [tokens, in]`` to ``[tokens, out]``."""
        return op.MatMul(x, self.weight)


class Int8Product(nn.Module):
    """``x @ W.T`` with int8 weights and activations quantised row by row, i.e. per token.

    Weights: symmetric int8, one scale an output channel. Activations: symmetric, one scale a row, stored as uint8
    around 128 because that is the fast kernel. A row's scale is its own, so no text's vector depends on its batch.
    The integer product is exact; its two scales are applied afterwards: the channel's inside
    MatMulIntegerToFloat, the row's by one multiplication.

    Args:
        parts: Matrices ``[out_i, in]``; the product has ``sum(out_i)`` columns, in this order.
    """

    def __init__(self, *parts: StoredTensor) -> None:
        super().__init__()
        rows, columns = _transposed_shape(parts)

        def read_weight() -> ir.TensorProtocol:
            weight = _read_transposed(parts)
            weight /= _channel_scales(weight)
            return ir.Tensor(np.rint(weight, out=weight).astype(np.int8))

        def read_scale() -> ir.TensorProtocol:
            return ir.Tensor(_channel_scales(_read_transposed(parts)))

        self.weight = nn.Parameter(
            [rows, columns],
            ir.DataType.INT8,
            data=ir.LazyTensor(read_weight, ir.DataType.INT8, ir.Shape([rows, columns])),
        )
        self.scale = nn.Parameter([columns], data=ir.LazyTensor(read_scale, ir.DataType.FLOAT, ir.Shape([columns])))
        self.zero_point = nn.Parameter([], ir.DataType.UINT8, data=ir.tensor(np.uint8(128)))

    def forward(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        """Multiply ``x [tokens, in]`` to ``[tokens, out]``."""
        largest = op.ReduceMax(op.Abs(x), [-1], keepdims=1)  # [tokens, 1]
        row_scale = op.Div(op.Max(largest, 1e-20), 127.0)  # an all-zero row stays zero
        quantised = op.QuantizeLinear(
            op.Div(x, row_scale), 1.0, self.zero_point, _domain=MICROSOFT, _version=1
        )  # ONNX Runtime 1.23 has no QuantizeLinear of opset 23
        product = op.MatMulIntegerToFloat(
            quantised, self.weight, 1.0, self.scale, self.zero_point, _domain=MICROSOFT, _version=1
        )
        return op.Mul(product, row_scale)


def product(precision: Precision, *parts: StoredTensor) -> Float32Product | Int8Product:
    """The product of ``parts`` in a precision."""
    return Int8Product(*parts) if precision == "int8" else Float32Product(*parts)


def _transposed_shape(parts: tuple[StoredTensor, ...]) -> tuple[int, int]:
    return parts[0].shape[1], sum(part.shape[0] for part in parts)


def _read_transposed(parts: tuple[StoredTensor, ...]) -> npt.NDArray[np.float32]:
    """The matrices side by side as ONNX multiplies them: float32 ``[in, sum(out_i)]``."""
    joined = np.empty(_transposed_shape(parts), np.float32)
    column = 0
    for part in parts:
        end = column + part.shape[0]
        joined[:, column:end] = part.map().T
        column = end
    return joined


def _channel_scales(weight: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """One scale an output channel of ``weight [in, out]``: its largest magnitude becomes 127."""
    largest = np.maximum(weight.max(axis=0), -weight.min(axis=0))
    scales: npt.NDArray[np.float32] = np.maximum(largest, np.float32(1e-20)) / np.float32(127)
    return scales
