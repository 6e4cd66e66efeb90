"""The rotary position embedding: tables of cosines and sines, which attention operators apply themselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnxscript import OpBuilder, nn

from ..checkpoint.geometry import Geometry
from .arithmetic import Arithmetic


@dataclass(frozen=True, slots=True)
class RotaryTables:
    """Cosines and sines `[max_tokens + 1, head_dim / 2]`, in the working type."""

    cos: ir.Value
    sin: ir.Value
    dtype: ir.DataType


class Rotary(nn.Module):
    """The tables, computed in float32 and rounded once to the working type."""

    def __init__(self, geometry: Geometry, arithmetic: Arithmetic) -> None:
        super().__init__()
        self.arithmetic = arithmetic
        # One row more than the longest text needs, for the spare position of padded_attention.
        positions = np.arange(geometry.max_tokens + 1, dtype=np.float32)
        angles = positions[:, None] * geometry.rope.frequencies(geometry.head_dim)
        # Scaling both scales the rotated queries and keys, because operators multiply by them.
        factor = np.float32(geometry.rope.attention_factor)
        self.cos = _table(np.cos(angles) * factor)
        self.sin = _table(np.sin(angles) * factor)

    def forward(self, op: OpBuilder) -> RotaryTables:
        """Return both tables in the working type."""
        narrow = self.arithmetic.narrow
        return RotaryTables(narrow(op, self.cos), narrow(op, self.sin), self.arithmetic.dtype)


def _table(values: npt.NDArray[np.float32]) -> nn.Parameter:
    return nn.Parameter(list(values.shape), data=ir.Tensor(np.ascontiguousarray(values, np.float32)))
