"""The dense layers that sentence-transformers puts after pooling."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
from onnxscript import OpBuilder, nn

from ..checkpoint.module_settings import Activation, DenseLayer, read_dense_weights
from .products import FloatProduct


class Dense(nn.Module):
    """`activation(x @ W.T + b)`, in float32 in every precision: it is a small part of the model.

    Args:
        folder: The checkpoint.
        layer: The layer, whose weights are in a folder of their own.
    """

    def __init__(self, folder: Path, layer: DenseLayer) -> None:
        super().__init__()
        weight, bias = read_dense_weights(folder, layer)
        self.activation = layer.activation
        self.product = FloatProduct(weight, dtype=ir.DataType.FLOAT)
        self.bias = (
            None
            if bias is None
            else nn.Parameter(
                [layer.outputs],
                data=ir.LazyTensor(
                    lambda: ir.Tensor(bias.values().astype("float32")), ir.DataType.FLOAT, ir.Shape([layer.outputs])
                ),
            )
        )

    def forward(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        """Map `x [batch, inputs]` to `[batch, outputs]`, both float32."""
        product = self.product(op, x)
        return _activated(op, product if self.bias is None else op.Add(product, self.bias), self.activation)


def _activated(op: OpBuilder, x: ir.Value, activation: Activation) -> ir.Value:
    if activation == "tanh":
        return op.Tanh(x)
    if activation == "relu":
        return op.Relu(x)
    if activation == "gelu":  # exact, by erf, as torch.nn.GELU without arguments
        return op.Gelu(x)
    if activation == "sigmoid":
        return op.Sigmoid(x)
    if activation == "silu":
        return op.Mul(x, op.Sigmoid(x))
    return x
