"""What every form of attention reads: the queries, keys and values of all rows."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir


@dataclass(frozen=True, slots=True)
class AttentionInputs:
    """Queries, keys and values, in the working type.

    Some operators normalise queries and keys themselves, and take the gains of the two norms. Of these, PagedAttention
    takes one tensor with queries, keys and values side by side, just as the projection returns them.

    Attributes:
        query: `[rows, heads * head_dim]`, each head normalised unless there are gains; or queries, keys and values side
            by side, `[rows, (heads + 2 * kv_heads) * head_dim]`, not normalised.
        key: `[rows, kv_heads * head_dim]`, each head normalised unless there are gains; None if side by side.
        value: `[rows, kv_heads * head_dim]`; None if side by side.
        gains: The gains of the norms of queries and keys, `[head_dim]` each; None if both are normalised.
        eps: What the norms add to the mean square; meaningful only with gains.
    """

    query: ir.Value
    key: ir.Value | None = None
    value: ir.Value | None = None
    gains: tuple[ir.Value, ir.Value] | None = None
    eps: float = 0.0
