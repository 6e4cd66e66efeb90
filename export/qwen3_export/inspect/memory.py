"""How much memory a served model takes on a CPU, estimated from its sizes."""

from __future__ import annotations

from ..checkpoint.geometry import Geometry
from ..graph.onnx_file import FileSizes

# The embedded host and Triton without a model: Python, numpy and ONNX Runtime. Measured: 0.15 GB.
_PROCESSES = 150_000_000
LONGEST_TEXT = 8192  # tokens of the texts that are computed at once


def served_bytes(geometry: Geometry, sizes: FileSizes) -> int:
    """Estimate the anonymous memory of Triton and its host while texts of 8,192 tokens are computed.

    It includes the weights, which ONNX Runtime copies into memory; the processes; and the texts in computation, about
    90 KB per token at the 0.6B shape. It leaves out the embedding table, which stays in the system's page cache, and
    the prefix cache.

    Args:
        geometry: The model's sizes.
        sizes: Of the model's files.
    """
    g = geometry
    # Values of one token that are alive together in the largest layer: residual stream, MLP, and padded attention.
    values = 2 * g.hidden + 3 * g.intermediate + 3 * (g.heads + 2 * g.kv_heads) * g.head_dim
    tokens = min(g.max_tokens, LONGEST_TEXT)
    return sizes.weights - sizes.table + _PROCESSES + 4 * values * tokens
