"""Equalisation: the same function, with activations whose channels are of similar size, as quantization needs it.

In trained decoders, the activations of some channels are larger than the others by orders of magnitude. With one scale
per row, quantization rounds the other channels to zero. But a channel between two linear maps can be divided by any
factor in the first and multiplied by it in the second without changing the function. There are four such pairs in each
layer:

    norm gain -> q, k, v      v rows -> o columns      norm gain -> gate, up      up rows -> down columns

The factor that balances a pair is sqrt(largest value in the first / largest value in the second): Nagel et al.,
"Data-Free Quantization through Weight Equalization and Bias Correction", 2019. Factors are rounded to powers of two, so
that float32 computes exactly the same result. No data is needed, and nothing is added to the graph.

The factors of a layer are computed when its first tensor is written. So each matrix is read from the disk once: the
second time, to quantize it, it is still in the system's page cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt

from .checkpoint import Checkpoint
from .stored_tensor import StoredTensor

Factors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ScaledTensor(StoredTensor):
    """A stored tensor whose rows and columns are multiplied by factors when it is read.

    Attributes:
        stored: What is scaled.
        rows: Returns one factor per row, `[out]`, or per element of a norm's gain; None to leave the rows.
        columns: Returns one factor per column, `[in]`; None to leave the columns.
    """

    stored: StoredTensor
    rows: Callable[[], Factors] | None = None
    columns: Callable[[], Factors] | None = None

    def map(self) -> npt.NDArray[np.generic]:
        """Return a gain `[in]` scaled, float32, in memory; a matrix as it is stored."""
        stored = self.stored.map()
        return stored if stored.ndim > 1 or self.rows is None else stored.astype(np.float32) * self.rows()

    def stripes(self) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
        """Read the scaled matrix by stripes, as `StoredTensor.stripes` does."""
        for stripe_rows, stripe in self.stored.stripes():
            if self.rows is not None:
                stripe *= self.rows()[stripe_rows, None]
            if self.columns is not None:
                stripe *= self.columns()
            yield stripe_rows, stripe


def equalise(checkpoint: Checkpoint) -> Checkpoint:
    """Return the same model with balanced channels. Weights are read when they are written, and not kept in memory."""
    tensors = dict(checkpoint.tensors)
    for layer in range(checkpoint.geometry.layers):
        _equalise_layer(checkpoint, layer, tensors)
    return replace(checkpoint, tensors=tensors)


def _equalise_layer(checkpoint: Checkpoint, layer: int, tensors: dict[str, StoredTensor]) -> None:
    """Replace a layer's tensors in `tensors` by scaled ones."""
    g = checkpoint.geometry
    query_size, key_size = g.heads * g.head_dim, g.kv_heads * g.head_dim
    attention, mlp = f"layers.{layer}.self_attn", f"layers.{layer}.mlp"
    shapes = {
        f"{attention}.q_proj.weight": (query_size, g.hidden),
        f"{attention}.k_proj.weight": (key_size, g.hidden),
        f"{attention}.v_proj.weight": (key_size, g.hidden),
        f"{attention}.o_proj.weight": (g.hidden, query_size),
        **{f"{mlp}.{p}_proj.weight": (g.intermediate, g.hidden) for p in ("gate", "up")},
        f"{mlp}.down_proj.weight": (g.hidden, g.intermediate),
    }
    matrices = {name: checkpoint.tensor(name, *shape) for name, shape in shapes.items()}
    query, key, value, output, gate, up, down = matrices

    @cache
    def largest(name: str) -> tuple[Factors, Factors]:
        return _largest(matrices[name])

    def of_rows(name: str) -> Factors:
        return largest(name)[0]

    def of_columns(*names: str) -> Factors:
        columns: Factors = np.max([largest(name)[1] for name in names], axis=0)
        return columns

    def scale(
        name: str, *, rows: Callable[[], Factors] | None = None, columns: Callable[[], Factors] | None = None
    ) -> None:
        stored = checkpoint.tensors[name]
        tensors[name] = ScaledTensor(
            stored.name, stored.path, stored.dtype, stored.shape, stored.offset, stored, rows, columns
        )

    def norm_to(norm: str, *readers: str) -> Callable[[], Factors]:
        gain = checkpoint.tensor(f"layers.{layer}.{norm}.weight", g.hidden)

        @cache
        def factors() -> Factors:
            return _factors(np.abs(gain.values().astype(np.float32)), of_columns(*readers))

        scale(f"layers.{layer}.{norm}.weight", rows=lambda: 1 / factors())
        return factors

    @cache
    def value_to_output() -> Factors:
        # All query heads of a group share one head of values.
        grouped = of_columns(output).reshape(g.kv_heads, -1, g.head_dim).max(axis=1)
        return _factors(of_rows(value), grouped.reshape(-1))

    def each_head() -> Factors:
        groups = value_to_output().reshape(g.kv_heads, 1, g.head_dim)
        return np.repeat(groups, g.heads // g.kv_heads, axis=1).reshape(-1)

    @cache
    def up_to_down() -> Factors:
        return _factors(of_rows(up), of_columns(down))

    into_attention = norm_to("input_layernorm", query, key, value)
    into_mlp = norm_to("post_attention_layernorm", gate, up)
    scale(query, columns=into_attention)
    scale(key, columns=into_attention)
    scale(value, columns=into_attention, rows=lambda: 1 / value_to_output())
    scale(output, columns=each_head)
    scale(gate, columns=into_mlp)
    scale(up, columns=into_mlp, rows=lambda: 1 / up_to_down())
    scale(down, columns=up_to_down)


def _factors(first: Factors, second: Factors) -> Factors:
    """Return powers of two by which to divide the first of a pair and multiply the second, one per channel.

    Their median is 1, so that most channels stay as they are.
    """
    usable = (first > 0) & (second > 0)
    exponents = np.zeros_like(first)
    exponents[usable] = np.log2(first[usable] / second[usable]) / 2
    exponents[usable] -= np.median(exponents[usable]) if usable.any() else 0
    factors: Factors = np.exp2(np.rint(exponents)).astype(np.float32)
    return factors


def _largest(matrix: StoredTensor) -> tuple[Factors, Factors]:
    """Return the largest magnitude in each row and in each column."""
    rows, columns = np.empty(matrix.shape[0], np.float32), np.zeros(matrix.shape[1], np.float32)
    for stripe_rows, stripe in matrix.stripes():
        np.abs(stripe, out=stripe)
        rows[stripe_rows] = stripe.max(axis=1)
        np.maximum(columns, stripe.max(axis=0), out=columns)
    return rows, columns
