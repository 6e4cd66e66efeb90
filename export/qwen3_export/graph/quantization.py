"""Weights as integers: per output channel for int8 products, or in blocks for MatMulNBits.

Knows nothing about graphs.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from ..checkpoint.stored_tensor import StoredTensor

BLOCK = 32  # input features with one scale; the smallest block for which ONNX Runtime's CPU kernels are fast


def quantize_channels(matrix: StoredTensor) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Quantize a matrix `[out, in]` with one scale per output channel, whose largest magnitude becomes 127.

    Returns:
        The transposed integers, int8 `[in, out]`, and the scales, float32 `[out]`.
    """
    weight = np.empty(matrix.shape[::-1], np.int8)
    scales = np.empty(matrix.shape[0], np.float32)
    for channels, stripe in matrix.stripes():
        largest = np.maximum(stripe.max(axis=1), -stripe.min(axis=1))
        scales[channels] = np.maximum(largest, np.float32(1e-20)) / np.float32(127)
        stripe /= scales[channels, None]
        weight[:, channels] = np.rint(stripe, out=stripe).astype(np.int8).T
    return weight, scales


def in_blocks(matrix: StoredTensor) -> npt.NDArray[np.float32]:
    """Return a matrix `[out, in]` as float32 `[out, blocks, 32]`; the last block is filled up with zeros."""
    out_features, in_features = matrix.shape
    blocks = -(-in_features // BLOCK)
    padded = np.zeros((out_features, blocks * BLOCK), np.float32)
    for channels, stripe in matrix.stripes():
        padded[channels, :in_features] = stripe
    return padded.reshape(out_features, blocks, BLOCK)


def block_scales(values: npt.NDArray[np.float32], bits: Literal[8, 4]) -> npt.NDArray[np.float32]:
    """Return one scale per block of `values [out, blocks, 32]`: `[out, blocks]`."""
    if bits == 8:
        scale = np.abs(values).max(axis=-1) / np.float32(127)
    else:
        # The value of largest magnitude becomes -8: 4 bits reach from -8 to 7, one step further down than up.
        largest = np.take_along_axis(values, np.abs(values).argmax(axis=-1)[..., None], axis=-1)[..., 0]
        scale = largest / np.float32(-8)
    scale[scale == 0] = 1
    scales: npt.NDArray[np.float32] = scale.astype(np.float32)
    return scales


def quantize_blocks(values: npt.NDArray[np.float32], bits: Literal[8, 4]) -> npt.NDArray[np.uint8]:
    """Quantize `values [out, blocks, 32]` to the form that MatMulNBits reads.

    Returns:
        uint8 `[out, blocks, 32 * bits / 8]`, with 128 or 8 for zero. With 4 bits a byte holds two values, the first of
        them in the lower half.
    """
    middle = 1 << (bits - 1)
    steps = np.rint(values / block_scales(values, bits)[..., None])
    quantized: npt.NDArray[np.uint8] = np.clip(steps + middle, 0, 2 * middle - 1).astype(np.uint8)
    if bits == 4:
        quantized = quantized[..., 0::2] | (quantized[..., 1::2] << np.uint8(4))
    return quantized
