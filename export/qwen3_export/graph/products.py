"""The matrix products of the model: how each precision stores weights and multiplies by them.

A product knows nothing about the layer that uses it. Its weights are read one matrix at a time, when the model file is
written; `onnx_ir.LazyTensor` defers the reading.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnxscript import OpBuilder, nn

from ..checkpoint.stored_tensor import StoredTensor
from ..errors import ExportError
from ..precision import Precision
from .quantization import BLOCK, block_scales, in_blocks, quantize_blocks, quantize_channels

# The type of products and attention, for the half precisions; in all others it is float32.
HALF: dict[Precision, ir.DataType] = {
    "bf16": ir.DataType.BFLOAT16,
    "bf16-residual": ir.DataType.BFLOAT16,
    "fp16": ir.DataType.FLOAT16,
}

# Bits of a weight, for the precisions that quantize weights by blocks.
BLOCK_BITS: dict[Precision, Literal[8, 4]] = {"int8-weight": 8, "int4-weight": 4}

MICROSOFT = "com.microsoft"  # ONNX Runtime's own operators

_LARGEST_FP16 = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True)
class Scaled:
    """The product `value * row_scale`, not yet multiplied.

    What follows may not need the multiplication: a factor per row passes unchanged through a linear map, and a
    normalisation cancels it.

    Attributes:
        value: `[rows, size]`, float32 or a half precision.
        row_scale: FP32 `[rows, 1]`; None for 1.
    """

    value: ir.Value
    row_scale: ir.Value | None = None

    def multiplied(self, op: OpBuilder) -> ir.Value:
        """Return `value * row_scale`, `[rows, size]`."""
        return self.value if self.row_scale is None else op.Mul(self.value, self.row_scale)


class FloatProduct(nn.Module):
    """`x @ W.T` in float32 or a half precision; input and output have that type too.

    Args:
        parts: Matrices `[out_i, in]`, whose results lie side by side in this order: `sum(out_i)` columns.
        dtype: FLOAT, BFLOAT16 or FLOAT16.
    """

    def __init__(self, *parts: StoredTensor, dtype: ir.DataType) -> None:
        super().__init__()
        shape = ir.Shape(_transposed_shape(parts))

        def read() -> ir.TensorProtocol:
            return ir.Tensor(_read_transposed(parts, dtype.numpy()))

        self.weight = nn.Parameter(shape.numpy(), dtype, data=ir.LazyTensor(read, dtype, shape))

    def forward(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        """Multiply `x [rows, in]` by the weights; returns `[rows, out]`."""
        return op.MatMul(x, self.weight)


class Int8Product(nn.Module):
    """`x @ W.T` with int8 weights and activations that are quantized per row, that is, per token.

    Weights are symmetric int8 with one scale per output channel. Activations are symmetric with one scale per row, and
    stored as uint8 around 128, because ONNX Runtime's fast kernel multiplies uint8 by int8. As every row has a scale of
    its own, a text's result does not depend on its batch. The integer product is exact. MatMulIntegerToFloat applies
    the channels' scales to it; the rows' scales are applied where the result is used.

    Args:
        part: A matrix `[out, in]`.
    """

    def __init__(self, part: StoredTensor) -> None:
        super().__init__()
        out_features, in_features = part.shape
        lock = Lock()
        # Quantizing the weights computes the scales too. They are remembered, because that reads the whole matrix.
        scales: list[npt.NDArray[np.float32]] = []

        def read_weight() -> ir.TensorProtocol:
            with lock:
                weight, scale = quantize_channels(part)
                scales[:] = [scale]
            return ir.Tensor(weight)

        def read_scale() -> ir.TensorProtocol:
            with lock:
                if not scales:
                    scales.append(quantize_channels(part)[1])
            return ir.Tensor(scales[0])

        self.weight = nn.Parameter(
            [in_features, out_features],
            ir.DataType.INT8,
            data=ir.LazyTensor(read_weight, ir.DataType.INT8, ir.Shape([in_features, out_features])),
        )
        self.scale = nn.Parameter(
            [out_features], data=ir.LazyTensor(read_scale, ir.DataType.FLOAT, ir.Shape([out_features]))
        )
        self.zero_point = nn.Parameter([], ir.DataType.UINT8, data=ir.tensor(np.uint8(128)))

    def forward(self, op: OpBuilder, quantized: ir.Value) -> ir.Value:
        """Multiply `quantized` UINT8 `[rows, in]` by the weights; returns FP32 `[rows, out]` without the row scales."""
        product = op.MatMulIntegerToFloat(
            quantized, self.weight, 1.0, self.scale, self.zero_point, _domain=MICROSOFT, _version=1
        )
        # onnxscript does not infer the types of ONNX Runtime's own operators.
        product.type = ir.TensorType(ir.DataType.FLOAT)
        return product


class Int8Products(nn.Module):
    """Products of one input with several matrices. The input is quantized once for all of them.

    Args:
        parts: Matrices `[out_i, in]`.
    """

    def __init__(self, *parts: StoredTensor) -> None:
        super().__init__()
        self.products = nn.ModuleList([Int8Product(part) for part in parts])
        self.middle = nn.Parameter([1], ir.DataType.UINT8, data=ir.tensor(np.array([128], np.uint8)))

    def forward(self, op: OpBuilder, x: Scaled) -> tuple[Scaled, ...]:
        """Multiply `x [rows, in]` by each matrix; returns one `[rows, out_i]` per matrix."""
        largest = op.ReduceMax(op.Abs(x.value), [-1], keepdims=0)  # [rows]
        row_scale = op.Div(op.Max(largest, 1e-20), 127.0)  # the lower bound keeps a row of zeros zero
        quantized = op.QuantizeLinear(  # ONNX Runtime 1.23 has no QuantizeLinear of opset 23
            x.value, row_scale, op.Expand(self.middle, op.Shape(row_scale)), axis=0, _domain=MICROSOFT, _version=1
        )
        row_scale = Scaled(op.Unsqueeze(row_scale, [-1]), x.row_scale).multiplied(op)  # [rows, 1]
        return tuple(Scaled(product(op, quantized), row_scale) for product in self.products)


class BlockProduct(nn.Module):
    """`x @ W.T` with weights of 8 or 4 bits in blocks of 32 input features, one scale per block.

    MatMulNBits quantizes activations by the same blocks (accuracy_level 4) within each row. So a feature with large
    values affects its own block only, and no row depends on another.

    The number of rows must be even. ONNX Runtime's kernels take two rows at a time, in ranges of 128 rows. On AVX2, a
    single row left over goes through another kernel with another order of summation: the last of 1, 129 or 257 rows
    would differ in its last bits from the same row in another batch.

    Args:
        parts: Matrices `[out_i, in]`, whose results lie side by side in this order: `sum(out_i)` columns.
        bits: 8 or 4.
    """

    def __init__(self, *parts: StoredTensor, bits: Literal[8, 4]) -> None:
        super().__init__()
        self.bits = bits
        self.in_features, self.out_features = _transposed_shape(parts)
        blocks = -(-self.in_features // BLOCK)
        packed_shape = ir.Shape([self.out_features, blocks, BLOCK * bits // 8])
        scale_shape = ir.Shape([self.out_features, blocks])

        def read_weight() -> ir.TensorProtocol:
            return ir.Tensor(np.concatenate([quantize_blocks(in_blocks(part), bits) for part in parts]))

        def read_scale() -> ir.TensorProtocol:
            return ir.Tensor(np.concatenate([block_scales(in_blocks(part), bits) for part in parts]))

        self.weight = nn.Parameter(
            packed_shape.numpy(),
            ir.DataType.UINT8,
            data=ir.LazyTensor(read_weight, ir.DataType.UINT8, packed_shape),
        )
        self.scale = nn.Parameter(scale_shape.numpy(), data=ir.LazyTensor(read_scale, ir.DataType.FLOAT, scale_shape))

    def forward(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        """Multiply `x [rows, in]` by the weights; returns `[rows, out]`."""
        return op.MatMulNBits(
            x,
            self.weight,
            self.scale,
            K=self.in_features,
            N=self.out_features,
            bits=self.bits,
            block_size=BLOCK,
            accuracy_level=4,
            _domain=MICROSOFT,
            _version=1,
        )


class SideBySide(nn.Module):
    """Products of one input with several matrices, computed as one product whose result is split.

    Args:
        product: The product with all matrices.
        sizes: Columns of each matrix's result.
    """

    def __init__(self, product: FloatProduct | BlockProduct, sizes: list[int]) -> None:
        super().__init__()
        self.product = product
        self.sizes = sizes

    def forward(self, op: OpBuilder, x: Scaled) -> tuple[Scaled, ...]:
        """Multiply `x [rows, in]` by each matrix; returns one `[rows, out_i]` per matrix."""
        joined = self.product(op, x.multiplied(op))
        parts = (joined,) if len(self.sizes) == 1 else op.Split(joined, self.sizes, axis=-1, _outputs=len(self.sizes))
        return tuple(Scaled(part) for part in parts)


class OneByOne(nn.Module):
    """Products of one input with several matrices, each computed by itself.

    On a GPU, splitting a joined result costs more than reading the input again: the results are written and read once
    more, and they are wider than the input.

    Args:
        parts: Matrices `[out_i, in]`.
        dtype: BFLOAT16 or FLOAT16.
    """

    def __init__(self, *parts: StoredTensor, dtype: ir.DataType) -> None:
        super().__init__()
        self.products = nn.ModuleList([FloatProduct(part, dtype=dtype) for part in parts])

    def forward(self, op: OpBuilder, x: Scaled) -> tuple[Scaled, ...]:
        """Multiply `x [rows, in]` by each matrix; returns one `[rows, out_i]` per matrix."""
        multiplied = x.multiplied(op)
        return tuple(Scaled(product(op, multiplied)) for product in self.products)


Products = Int8Products | SideBySide | OneByOne


def products(precision: Precision, *parts: StoredTensor) -> Products:
    """Return the products of one input with each of `parts`, from and to float32 or the half precision."""
    if precision == "int8":
        return Int8Products(*parts)
    if precision in HALF:
        return OneByOne(*parts, dtype=HALF[precision])
    product: FloatProduct | BlockProduct
    if precision in BLOCK_BITS:
        product = BlockProduct(*parts, bits=BLOCK_BITS[precision])
    else:
        product = FloatProduct(*parts, dtype=ir.DataType.FLOAT)
    return SideBySide(product, [part.shape[0] for part in parts])


def _transposed_shape(parts: tuple[StoredTensor, ...]) -> tuple[int, int]:
    return parts[0].shape[1], sum(part.shape[0] for part in parts)


def _stripes(parts: tuple[StoredTensor, ...]) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
    """Read several matrices stripe by stripe.

    Yields:
        Which columns of the transposed matrices the stripe becomes, and the stripe, float32 `[stripe, in]`.
    """
    before = 0
    for part in parts:
        for rows, stripe in part.stripes():
            yield slice(before + rows.start, before + rows.stop), stripe
        before += part.shape[0]


def _read_transposed(parts: tuple[StoredTensor, ...], dtype: np.dtype[np.generic]) -> npt.NDArray[np.generic]:
    """Return the transposed matrices side by side, as MatMul takes them: `[in, sum(out_i)]`."""
    joined = np.empty(_transposed_shape(parts), dtype)
    for columns, stripe in _stripes(parts):
        if dtype == np.float16 and max(stripe.max(), -stripe.min()) > _LARGEST_FP16:
            raise ExportError(
                f"{parts[0].name} or a matrix beside it holds {np.abs(stripe).max():.0f}, and fp16 ends at "
                f"{_LARGEST_FP16:.0f}; export with --precision bf16"
            )
        joined[:, columns] = stripe.astype(dtype, copy=False).T
    return joined
