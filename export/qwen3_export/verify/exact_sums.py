"""Detection of int8 sums that saturate on a server. Pure arithmetic.

ONNX Runtime's products of uint8 by int8 saturate on x86 processors without VNNI, unless the host turns on exact sums.
The embedded host does so; Triton's onnxruntime backend cannot. From outside, only the accuracy shows it: exact sums on
another processor differ from those here by rounding only and are as close to the reference, but saturated sums are not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..kind import Kind

Row = npt.NDArray[np.float32]

LONGEST = 300  # tokens of the longest text that is also run on this machine
# The largest ratio of a server's mean error to this machine's. Measured: 1.0 for exact sums on another processor; from
# 2.4 (random weights of the 0.6B shape) to 10 for saturated sums. A reranker gives one number per text, so that its
# mean error varies more.
_MOST: dict[Kind, float] = {"embedding": 1.5, "reranker": 2.5}


def saturation_fault(server: Sequence[Row], here: Sequence[Row], reference: Sequence[Row], kind: Kind) -> str | None:
    """Compare the errors of a server with those of this machine.

    Args:
        server: The rows that the server gives, each `[row_size]`.
        here: The rows that this machine gives for the same texts.
        reference: The rows that transformers gives for them.
        kind: The kind of the model.

    Returns:
        The fault as a sentence, or None.
    """

    def mean_error(rows: Sequence[Row]) -> float:
        return float(np.mean([_error(row, expected, kind) for row, expected in zip(rows, reference, strict=True)]))

    there, exact = mean_error(server), max(mean_error(here), 1e-9)
    if not there > _MOST[kind] * exact:
        return None
    return (
        f"the server's int8 results are {there / exact:.1f} times as far from the reference as this machine's: its "
        "sums saturate, as in Triton's onnxruntime backend on processors without VNNI. Serve int8 with `qwen3-triton "
        "serve`, whose sums are exact on every processor, or export with --precision int8-weight for that server"
    )


def _error(row: Row, reference: Row, kind: Kind) -> float:
    """Return 1 - cosine of embeddings, or the square of the difference of logits."""
    if kind == "embedding":
        return 1 - float(np.dot(row, reference) / (np.linalg.norm(row) * np.linalg.norm(reference)))
    return float((row[1] - reference[1]) ** 2)
