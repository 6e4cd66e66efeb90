"""What every attention reads: queries, keys and values of all rows, and the tables of the rotary embedding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnxscript import OpBuilder, nn

from ..checkpoint.geometry import Geometry
from .arithmetic import Arithmetic


@dataclass(frozen=True, slots=True)
class Heads:
    """Queries, keys and values, in the working type.

    Attributes:
        query: `[rows, heads * head_dim]`, normalised head by head. If the operator does that itself, all three side
            by side as they come, `[rows, (heads + 2 * kv_heads) * head_dim]`.
        key: `[rows, kv_heads * head_dim]`, normalised head by head; None if side by side.
        value: `[rows, kv_heads * head_dim]`; None if side by side.
        gains: If side by side, the gains of the two norms, `[head_dim]` each.
        eps: If side by side, what the norms add to the mean square.
    """

    query: ir.Value
    key: ir.Value | None = None
    value: ir.Value | None = None
    gains: tuple[ir.Value, ir.Value] | None = None
    eps: float = 0.0


@dataclass(frozen=True, slots=True)
class RotaryTables:
    """Cosine and sine `[max_tokens + 1, head_dim / 2]`, in the working type."""

    cos: ir.Value
    sin: ir.Value
    dtype: ir.DataType


class Rotary(nn.Module):
    """The rotary position embedding, whose tables are rounded once from float32."""

    def __init__(self, geometry: Geometry, arithmetic: Arithmetic) -> None:
        super().__init__()
        self.arithmetic = arithmetic
        # float32 throughout, as transformers computes it, so that long texts agree too.
        exponents = np.arange(0, geometry.head_dim, 2, dtype=np.float32) / np.float32(geometry.head_dim)
        frequencies = np.float32(1) / np.float32(geometry.rope_theta) ** exponents
        positions = np.arange(geometry.max_tokens + 1, dtype=np.float32)  # one for the spare slot, see padded_attention
        angles = positions[:, None] * frequencies
        self.cos = _table(np.cos(angles))
        self.sin = _table(np.sin(angles))

    def forward(self, op: OpBuilder) -> RotaryTables:
        """The two tables."""
        enter = self.arithmetic.enter
        return RotaryTables(enter(op, self.cos), enter(op, self.sin), self.arithmetic.dtype)


def _table(values: npt.NDArray[np.float32]) -> nn.Parameter:
    return nn.Parameter(list(values.shape), data=ir.Tensor(np.ascontiguousarray(values, np.float32)))
