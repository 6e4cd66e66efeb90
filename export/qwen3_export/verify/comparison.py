"""Comparison of one text's results: with the reference, and alone with those in a batch. Pure arithmetic.

A row is the result of one text: its embedding, or its score and logit. Every comparison is written so that NaN fails.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..kind import Kind
from .bounds import Bounds
from .cases import Case

Row = npt.NDArray[np.float32]

MEASURES: dict[Kind, tuple[str, str]] = {"embedding": ("cosine", "max abs"), "reranker": ("logit diff", "score diff")}

_UNKNOWN = (float("nan"), float("nan"))
_NORM_TOLERANCE = 1e-4  # largest difference between a unit vector's norm and 1
_SIGMOID_TOLERANCE = 1e-4  # largest difference between a score and the sigmoid of its logit


@dataclass(frozen=True, slots=True)
class Comparison:
    """The comparison of one text.

    Attributes:
        name: The name of the case.
        tokens: Its length.
        measures: The two measures that `MEASURES` names.
        in_batch: Largest difference between the text alone and in a mixed batch; 0 if no bit differs.
        faults: What is out of bounds, as phrases.
    """

    name: str
    tokens: int
    measures: tuple[float, float]
    in_batch: float
    faults: tuple[str, ...]


def compare(case: Case, row: Row, reference: Row, together: Row, *, kind: Kind, bounds: Bounds) -> Comparison:
    """Compare a text's row with its reference.

    Args:
        case: The text.
        row: The row that the exported model gives for the text alone, `[row_size]`.
        reference: The row that the checkpoint's own library gives, `[row_size]`.
        together: The row that the exported model gives in a mixed batch, `[row_size]`.
        kind: The kind of the model.
        bounds: The bounds of its precision.
    """
    in_batch = 0.0 if np.array_equal(row, together) else float(np.abs(row - together).max())
    if not np.isfinite(reference).all():
        return Comparison(case.name, case.ids.size, _UNKNOWN, in_batch, ("the reference is not finite",))
    if not (np.isfinite(row).all() and np.isfinite(together).all()):
        return Comparison(case.name, case.ids.size, _UNKNOWN, in_batch, ("the result is not finite",))
    measure = _measure_embedding if kind == "embedding" else _measure_score
    measures, faults = measure(row.astype(np.float64), reference.astype(np.float64), bounds)
    if in_batch != 0 and bounds.same_bits:
        faults.append(f"the results alone and in a batch differ by {in_batch:.1e}")
    elif in_batch != 0:
        _, faults_in_batch = measure(together.astype(np.float64), reference.astype(np.float64), bounds)
        faults += [f"in a batch, {fault}" for fault in faults_in_batch]
    return Comparison(case.name, case.ids.size, measures, in_batch, tuple(faults))


Float64s = npt.NDArray[np.float64]


def _measure_embedding(row: Float64s, reference: Float64s, bounds: Bounds) -> tuple[tuple[float, float], list[str]]:
    norm, wanted = float(np.linalg.norm(row)), max(float(np.linalg.norm(reference)), 1e-30)
    cosine = float(row @ reference / max(norm * wanted, 1e-30))
    largest = float(np.abs(row - reference).max()) / wanted
    faults = []
    # Only a model without Normalize has another norm than 1, and then its norm may be off as much as its direction.
    is_unit = abs(wanted - 1) <= _NORM_TOLERANCE
    tolerance = _NORM_TOLERANCE if is_unit else max(_NORM_TOLERANCE, math.sqrt(2 * (1 - bounds.cosine)))
    if not abs(norm / wanted - 1) <= tolerance:
        faults.append(f"its norm is {norm:.6f}" + ("" if is_unit else f" instead of {wanted:.6f}"))
    if not cosine >= bounds.cosine:
        faults.append(f"cosine {cosine:.7f} is below {bounds.cosine:g}")
    if bounds.difference is not None and not largest <= bounds.difference:
        faults.append(f"an element differs by {largest:.1e}, more than {bounds.difference:g}")
    return (cosine, largest), faults


def _measure_score(row: Float64s, reference: Float64s, bounds: Bounds) -> tuple[tuple[float, float], list[str]]:
    score, logit = (float(difference) for difference in np.abs(row - reference))
    faults = []
    if bounds.logit is not None and not logit <= bounds.logit:
        faults.append(f"the logit differs by {logit:.1e}, more than {bounds.logit:g}")
    if not score <= bounds.score:
        faults.append(f"the score differs by {score:.1e}, more than {bounds.score:g}")
    if not abs(row[0] - sigmoid(float(row[1]))) <= _SIGMOID_TOLERANCE:
        faults.append(f"its score {row[0]:.6f} is not the sigmoid of its logit {row[1]:.6f}")
    return (logit, score), faults


def sigmoid(logit: float) -> float:
    """Compute 1 / (1 + exp(-logit)) without overflow."""
    return float(0.5 * (1 + np.tanh(0.5 * logit)))
