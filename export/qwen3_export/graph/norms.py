"""Root-mean-square normalisation, alone and fused with the addition before it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnxscript import OpBuilder, nn

from ..checkpoint.stored_tensor import StoredTensor
from .products import MICROSOFT


class Gain(nn.Module):
    """The learned gain of a normalisation, `[size]`, for an operator that normalises by itself.

    Args:
        gain: The checkpoint's tensor.
        eps: What the operator adds to the mean square.
        dtype: The type of what is normalised, in which the gain is stored too.
    """

    def __init__(self, gain: StoredTensor, *, eps: float, dtype: ir.DataType = ir.DataType.FLOAT) -> None:
        super().__init__()
        self.eps, self.dtype = eps, dtype
        self.weight = nn.Parameter(
            list(gain.shape),
            dtype,
            data=ir.LazyTensor(lambda: ir.Tensor(gain.values().astype(dtype.numpy())), dtype, ir.Shape(gain.shape)),
        )

    def forward(self, op: OpBuilder) -> ir.Value:  # noqa: ARG002  - the builder registers the gain
        """Return the gain."""
        return self.weight


class RMSNorm(Gain):
    """Normalisation of the last axis, times the gain. A half precision is normalised in float32 inside the operator."""

    def forward(self, op: OpBuilder, x: ir.Value) -> ir.Value:  # type: ignore[override]
        """Normalise `x [..., size]`."""
        return op.RMSNormalization(x, self.weight, axis=-1, epsilon=self.eps)


class UnitNorm(nn.Module):
    """Division by the Euclidean norm, in one operator: `x / |x|` is x's RMS normalisation times `1 / sqrt(size)`.

    For GPUs, where ONNX Runtime's reductions take several launches and load cuDNN.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.scale = nn.Parameter([size], data=ir.tensor(np.full(size, size**-0.5, np.float32)))

    def forward(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        """Normalise `x [batch, size]`, float32. A vector of zeros stays zero."""
        return op.RMSNormalization(x, self.scale, axis=-1, epsilon=1e-24)


class AddRMSNorm(Gain):
    """Addition of a sublayer's output to the residual stream and normalisation of the sum, in one operator.

    In a half precision, the sum is rounded once, its squares are summed in float32, and the result is rounded once.
    """

    def forward(self, op: OpBuilder, residual: ir.Value, update: ir.Value) -> tuple[ir.Value, ir.Value]:  # type: ignore[override]
        """Return the normalised sum and the sum itself, both `[rows, hidden]`."""
        normed, _mean, _inverse, total = op.SkipSimplifiedLayerNormalization(
            residual, update, self.weight, epsilon=self.eps, _domain=MICROSOFT, _version=1, _outputs=4
        )
        # onnxscript does not infer the types of ONNX Runtime's own operators.
        normed.type = total.type = ir.TensorType(self.dtype)
        return normed, total
