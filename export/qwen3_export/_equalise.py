"""Equalisation: the same function with activations that int8 can hold.

Trained decoders have channels whose activations are larger by orders of magnitude. Quantised with one scale a row, they
leave nothing of the others. Between two linear maps a channel may be divided by any factor in the first and multiplied
by it in the second; four places in each layer allow it:

    norm gain -> q, k, v      v rows -> o columns      norm gain -> gate, up      up rows -> down columns

The factor that balances the two sides is sqrt(size in the first / size in the second): Nagel et al., "Data-Free
Quantization through Weight Equalization and Bias Correction", 2019. Factors are rounded to powers of two, so that
float32 computes exactly what it computed before. No data is needed, and nothing is added to the graph.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ._checkpoint import Checkpoint
from ._safetensors import StoredTensor

Factors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ScaledTensor(StoredTensor):
    """A stored tensor whose rows and columns are multiplied by factors when it is read.

    Attributes:
        rows: One factor a row, ``[out]``; of a norm's gain, one an element.
        columns: One factor a column, ``[in]``, or None.
    """

    rows: Factors | None = None
    columns: Factors | None = None

    def map(self) -> npt.NDArray[np.generic]:
        """The scaled tensor, float32, in memory."""
        values = StoredTensor.map(self).astype(np.float32)
        if self.rows is not None:
            values *= self.rows if values.ndim == 1 else self.rows[:, None]
        if self.columns is not None:
            values *= self.columns
        return values


def equalise(checkpoint: Checkpoint) -> Checkpoint:
    """The same model with balanced channels; weights are read, but not kept."""
    g = checkpoint.geometry
    tensors = dict(checkpoint.tensors)

    def scale(name: str, *, rows: Factors | None = None, columns: Factors | None = None) -> None:
        stored = tensors[name]
        if not isinstance(stored, ScaledTensor):
            stored = ScaledTensor(stored.name, stored.path, stored.dtype, stored.shape, stored.offset)
        tensors[name] = replace(
            stored,
            rows=stored.rows if rows is None else rows,
            columns=stored.columns if columns is None else columns,
        )

    queries, keys = g.heads * g.head_dim, g.kv_heads * g.head_dim
    for layer in range(g.layers):
        attention, mlp = f"layers.{layer}.self_attn", f"layers.{layer}.mlp"
        qkv = [(f"{attention}.{p}_proj.weight", n) for p, n in (("q", queries), ("k", keys), ("v", keys))]
        gate_up = [(f"{mlp}.{p}_proj.weight", g.intermediate) for p in ("gate", "up")]
        for norm, readers in (("input_layernorm", qkv), ("post_attention_layernorm", gate_up)):
            gain = f"layers.{layer}.{norm}.weight"
            size = np.abs(checkpoint.tensor(gain, g.hidden).map().astype(np.float32))
            read_by = np.max(
                [_largest(checkpoint.tensor(name, rows, g.hidden), axis=0) for name, rows in readers], axis=0
            )
            factors = _factors(size, read_by)
            scale(gain, rows=1 / factors)
            for name, _ in readers:
                scale(name, columns=factors)

        value, output = f"{attention}.v_proj.weight", f"{attention}.o_proj.weight"
        # Heads of a group read the same values.
        grouped = _largest(checkpoint.tensor(output, g.hidden, queries), axis=0).reshape(g.kv_heads, -1, g.head_dim)
        factors = _factors(_largest(checkpoint.tensor(value, keys, g.hidden), axis=1), grouped.max(axis=1).reshape(-1))
        scale(value, rows=1 / factors)
        per_head = np.repeat(factors.reshape(g.kv_heads, 1, g.head_dim), g.heads // g.kv_heads, axis=1)
        scale(output, columns=per_head.reshape(-1))

        up, down = f"{mlp}.up_proj.weight", f"{mlp}.down_proj.weight"
        factors = _factors(
            _largest(checkpoint.tensor(up, g.intermediate, g.hidden), axis=1),
            _largest(checkpoint.tensor(down, g.hidden, g.intermediate), axis=0),
        )
        scale(up, rows=1 / factors)
        scale(down, columns=factors)
    return replace(checkpoint, tensors=tensors)


def _factors(first: Factors, second: Factors) -> Factors:
    """Powers of two by which to divide the first side and multiply the second, one a channel; their median is 1."""
    usable = (first > 0) & (second > 0)
    exponents = np.zeros_like(first)
    exponents[usable] = np.log2(first[usable] / second[usable]) / 2
    exponents[usable] -= np.median(exponents[usable]) if usable.any() else 0
    factors: Factors = np.exp2(np.rint(exponents)).astype(np.float32)
    return factors


def _largest(matrix: StoredTensor, *, axis: int) -> Factors:
    """Largest magnitude of each column (axis 0) or row (axis 1)."""
    values = matrix.map().astype(np.float32)  # numpy compares bfloat16 one by one
    largest: Factors = np.maximum(values.max(axis=axis), -values.min(axis=axis))
    return largest
