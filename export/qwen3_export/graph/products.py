"""The matrix products of the model: how a precision stores weights and multiplies.

A product knows how its weights are stored and how it multiplies; it knows nothing about the layer it serves.
Weights are read when the file is written, one matrix at a time: see `onnx_ir.LazyTensor`.
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
from ..precision import Precision

# Type of products and attention; the residual stream and all norms are float32 in every precision.
HALF: dict[Precision, ir.DataType] = {"bf16": ir.DataType.BFLOAT16, "fp16": ir.DataType.FLOAT16}

# Bits of a weight in the precisions that quantise weights by blocks.
BLOCK_BITS: dict[Precision, Literal[8, 4]] = {"int8-weight": 8, "int4-weight": 4}

MICROSOFT = "com.microsoft"  # ONNX Runtime's own operators


@dataclass(frozen=True, slots=True)
class Scaled:
    """`value * row_scale`, not multiplied yet: what follows may do with less.

    A factor of its own for each row passes through every linear map, and a normalisation undoes it.

    Attributes:
        value: `[rows, size]`, float32 or a half precision.
        row_scale: FP32 `[rows, 1]`; None for 1.
    """

    value: ir.Value
    row_scale: ir.Value | None = None

    def multiplied(self, op: OpBuilder) -> ir.Value:
        """The product of both."""
        return self.value if self.row_scale is None else op.Mul(self.value, self.row_scale)


class FloatProduct(nn.Module):
    """`x @ W.T` in float32 or a half precision, from and to that type.

    Args:
        parts: Matrices `[out_i, in]`; the product has `sum(out_i)` columns, in this order.
        dtype: FLOAT, BFLOAT16 or FLOAT16.
    """

    def __init__(self, *parts: StoredTensor, dtype: ir.DataType) -> None:
        super().__init__()
        shape = ir.Shape(_transposed_shape(parts))

        def read() -> ir.TensorProtocol:
            return ir.Tensor(_read_transposed(parts, dtype.numpy()))

        self.weight = nn.Parameter(shape.numpy(), dtype, data=ir.LazyTensor(read, dtype, shape))

    def forward(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        """Multiply `x [tokens, in]` to `[tokens, out]`."""
        return op.MatMul(x, self.weight)


class Int8Product(nn.Module):
    """`x @ W.T` with int8 weights, of activations that were quantised row by row, i.e. per token.

    Weights: symmetric int8, one scale an output channel. Activations: symmetric, one scale a row, stored as uint8
    around 128 because that is the fast kernel. A row's scale is its own, so no text's vector depends on its batch.
    The integer product is exact; its two scales come afterwards: the channel's inside MatMulIntegerToFloat, the row's
    wherever the result is used.

    Args:
        part: A matrix `[out, in]`.
    """

    def __init__(self, part: StoredTensor) -> None:
        super().__init__()
        columns, rows = part.shape
        lock = Lock()
        scales: list[npt.NDArray[np.float32]] = []  # fall out of quantising, and are too dear to compute again

        def read_weight() -> ir.TensorProtocol:
            with lock:
                weight, scale = _quantise_channels(part)
                scales[:] = [scale]
            return ir.Tensor(weight)

        def read_scale() -> ir.TensorProtocol:
            with lock:
                if not scales:
                    scales.append(_quantise_channels(part)[1])
            return ir.Tensor(scales[0])

        self.weight = nn.Parameter(
            [rows, columns],
            ir.DataType.INT8,
            data=ir.LazyTensor(read_weight, ir.DataType.INT8, ir.Shape([rows, columns])),
        )
        self.scale = nn.Parameter([columns], data=ir.LazyTensor(read_scale, ir.DataType.FLOAT, ir.Shape([columns])))
        self.zero_point = nn.Parameter([], ir.DataType.UINT8, data=ir.tensor(np.uint8(128)))

    def forward(self, op: OpBuilder, quantised: ir.Value) -> ir.Value:
        """Multiply `quantised` UINT8 `[tokens, in]` to `[tokens, out]`, but for the rows' scales."""
        product = op.MatMulIntegerToFloat(
            quantised, self.weight, 1.0, self.scale, self.zero_point, _domain=MICROSOFT, _version=1
        )
        product.type = ir.TensorType(ir.DataType.FLOAT)  # onnxscript knows no types of ONNX Runtime's own operators
        return product


class Int8Products(nn.Module):
    """Products of one input with several matrices, which it is quantised for once.

    Args:
        parts: Matrices `[out_i, in]`.
    """

    def __init__(self, *parts: StoredTensor) -> None:
        super().__init__()
        self.products = nn.ModuleList([Int8Product(part) for part in parts])
        self.middle = nn.Parameter([1], ir.DataType.UINT8, data=ir.tensor(np.array([128], np.uint8)))

    def forward(self, op: OpBuilder, x: Scaled) -> tuple[Scaled, ...]:
        """Multiply `x [tokens, in]` to one `[tokens, out_i]` a matrix."""
        largest = op.ReduceMax(op.Abs(x.value), [-1], keepdims=0)  # [tokens]
        row_scale = op.Div(op.Max(largest, 1e-20), 127.0)  # an all-zero row stays zero
        quantised = op.QuantizeLinear(  # ONNX Runtime 1.23 has no QuantizeLinear of opset 23
            x.value, row_scale, op.Expand(self.middle, op.Shape(row_scale)), axis=0, _domain=MICROSOFT, _version=1
        )
        column = Scaled(op.Unsqueeze(row_scale, [-1]), x.row_scale).multiplied(op)
        return tuple(Scaled(product(op, quantised), column) for product in self.products)


class BlockProduct(nn.Module):
    """`x @ W.T` with weights in blocks of 32 along the input, 8 or 4 bits each, one scale a block.

    MatMulNBits quantises activations by the same blocks (accuracy_level 4), within each row: a channel with large
    values spoils its own block only, and no row depends on another.

    The number of rows must be even. ONNX Runtime's kernels take two rows at a time, in ranges of 128, and on AVX2 a row
    that remains alone goes through another kernel, with another order of summation: among 1, 129 or 257 rows the last
    would differ in its last bits from the same row in other company.

    Args:
        parts: Matrices `[out_i, in]`; the product has `sum(out_i)` columns, in this order.
        bits: 8 or 4.
    """

    BLOCK = 32  # the smallest block for which ONNX Runtime's CPU kernels are fast

    def __init__(self, *parts: StoredTensor, bits: Literal[8, 4]) -> None:
        super().__init__()
        self.bits = bits
        self.rows, self.columns = _transposed_shape(parts)
        blocks = -(-self.rows // self.BLOCK)
        packed_shape = ir.Shape([self.columns, blocks, self.BLOCK * bits // 8])
        scale_shape = ir.Shape([self.columns, blocks])

        def read_weight() -> ir.TensorProtocol:
            return ir.Tensor(np.concatenate([_quantise_blocks(_blocks(part, blocks), bits) for part in parts]))

        def read_scale() -> ir.TensorProtocol:
            return ir.Tensor(np.concatenate([_block_scales(_blocks(part, blocks), bits) for part in parts]))

        self.weight = nn.Parameter(
            packed_shape.numpy(),
            ir.DataType.UINT8,
            data=ir.LazyTensor(read_weight, ir.DataType.UINT8, packed_shape),
        )
        self.scale = nn.Parameter(scale_shape.numpy(), data=ir.LazyTensor(read_scale, ir.DataType.FLOAT, scale_shape))

    def forward(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        """Multiply `x [tokens, in]` to `[tokens, out]`."""
        return op.MatMulNBits(
            x,
            self.weight,
            self.scale,
            K=self.rows,
            N=self.columns,
            bits=self.bits,
            block_size=self.BLOCK,
            accuracy_level=4,
            _domain=MICROSOFT,
            _version=1,
        )


class SideBySide(nn.Module):
    """Products of one input with several matrices, as one product with all of them.

    Args:
        product: The product.
        sizes: Columns of each matrix's result.
    """

    def __init__(self, product: FloatProduct | BlockProduct, sizes: list[int]) -> None:
        super().__init__()
        self.product = product
        self.sizes = sizes

    def forward(self, op: OpBuilder, x: Scaled) -> tuple[Scaled, ...]:
        """Multiply `x [tokens, in]` to one `[tokens, out_i]` a matrix."""
        joined = self.joined(op, x)
        parts = (joined,) if len(self.sizes) == 1 else op.Split(joined, self.sizes, axis=-1, _outputs=len(self.sizes))
        return tuple(Scaled(part) for part in parts)

    def joined(self, op: OpBuilder, x: Scaled) -> ir.Value:
        """Multiply `x [tokens, in]` to `[tokens, sum(out_i)]`."""
        return self.product(op, x.multiplied(op))


Products = Int8Products | SideBySide


def products(precision: Precision, *parts: StoredTensor) -> Products:
    """The products of one input with each of `parts`, from and to float32, or the half precision."""
    if precision == "int8":
        return Int8Products(*parts)
    product: FloatProduct | BlockProduct
    if precision in BLOCK_BITS:
        product = BlockProduct(*parts, bits=BLOCK_BITS[precision])
    else:
        product = FloatProduct(*parts, dtype=HALF.get(precision, ir.DataType.FLOAT))
    return SideBySide(product, [part.shape[0] for part in parts])


def _transposed_shape(parts: tuple[StoredTensor, ...]) -> tuple[int, int]:
    return parts[0].shape[1], sum(part.shape[0] for part in parts)


def _stripes(parts: tuple[StoredTensor, ...]) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
    """Read the matrices side by side: the columns that a stripe of rows becomes, and float32 `[stripe, in]`."""
    before = 0
    for part in parts:
        for rows, stripe in part.stripes():
            yield slice(before + rows.start, before + rows.stop), stripe
        before += part.shape[0]


def _read_transposed(parts: tuple[StoredTensor, ...], dtype: np.dtype[np.generic]) -> npt.NDArray[np.generic]:
    """The matrices side by side as ONNX multiplies them: `[in, sum(out_i)]`."""
    joined = np.empty(_transposed_shape(parts), dtype)
    for columns, stripe in _stripes(parts):
        joined[:, columns] = stripe.astype(dtype, copy=False).T
    return joined


def _quantise_channels(part: StoredTensor) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """The matrix as int8 `[in, out]`, and one scale an output channel.

    A channel's largest magnitude becomes 127.
    """
    weight = np.empty(part.shape[::-1], np.int8)
    scales = np.empty(part.shape[0], np.float32)
    for channels, stripe in part.stripes():
        largest = np.maximum(stripe.max(axis=1), -stripe.min(axis=1))
        scales[channels] = np.maximum(largest, np.float32(1e-20)) / np.float32(127)
        stripe /= scales[channels, None]
        weight[:, channels] = np.rint(stripe, out=stripe).astype(np.int8).T
    return weight, scales


def _blocks(part: StoredTensor, blocks: int) -> npt.NDArray[np.float32]:
    """A matrix `[out, in]` as float32 `[out, blocks, 32]`, the last block filled with zeros."""
    columns, rows = part.shape
    padded = np.zeros((columns, blocks * BlockProduct.BLOCK), np.float32)
    for stripe_rows, stripe in part.stripes():
        padded[stripe_rows, :rows] = stripe
    return padded.reshape(columns, blocks, BlockProduct.BLOCK)


def _block_scales(values: npt.NDArray[np.float32], bits: Literal[8, 4]) -> npt.NDArray[np.float32]:
    """One scale a block of `values [out, blocks, 32]`: `[out, blocks]`."""
    if bits == 8:
        scale = np.abs(values).max(axis=-1) / np.float32(127)
    else:
        # The value of largest magnitude becomes -8, the end that has one step more.
        largest = np.take_along_axis(values, np.abs(values).argmax(axis=-1)[..., None], axis=-1)[..., 0]
        scale = largest / np.float32(-8)
    scale[scale == 0] = 1
    return scale.astype(np.float32)


def _quantise_blocks(values: npt.NDArray[np.float32], bits: Literal[8, 4]) -> npt.NDArray[np.uint8]:
    """Quantise `values [out, blocks, 32]` as MatMulNBits reads them.

    Returns:
        uint8 `[out, blocks, 32 * bits / 8]`, around 128 or 8, two to a byte for 4 bits, the earlier in the lower
        half.
    """
    middle = 1 << (bits - 1)
    steps = np.rint(values / _block_scales(values, bits)[..., None])
    quantised: npt.NDArray[np.uint8] = np.clip(steps + middle, 0, 2 * middle - 1).astype(np.uint8)
    if bits == 4:
        quantised = quantised[..., 0::2] | (quantised[..., 1::2] << np.uint8(4))
    return quantised
