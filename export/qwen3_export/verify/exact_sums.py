"""Whether a server's int8 products are exact. Pure arithmetic.

ONNX Runtime's products of uint8 by int8 saturate on x86 processors without VNNI, unless the host asks for exact ones.
This project's hosts ask; a host of someone else's, such as Triton's onnxruntime backend, cannot. Nothing but accuracy
tells the two apart from outside: exact products on another processor differ from those here by rounding alone, and are
as far from the reference; saturated ones are farther.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..kind import Kind

Row = npt.NDArray[np.float32]

LONGEST = 300  # tokens of a text that is run here as well
# How much larger a server's error may be. Measured: 1.0 for exact sums on another processor; for saturated ones from
# 2.4, with random weights of the 0.6B shape, to 10. A reranker gives one number per text, whose mean error varies more.
_MOST: dict[Kind, float] = {"embedding": 1.5, "reranker": 2.5}


def saturation_fault(server: Sequence[Row], here: Sequence[Row], reference: Sequence[Row], kind: Kind) -> str | None:
    """Compare the errors of the same texts' rows, each `[width]`.

    Returns:
        What is wrong, in words, or None.
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
    """1 - cosine, or the square of the logit's difference."""
    if kind == "embedding":
        return 1 - float(np.dot(row, reference) / (np.linalg.norm(row) * np.linalg.norm(reference)))
    return float((row[1] - reference[1]) ** 2)
