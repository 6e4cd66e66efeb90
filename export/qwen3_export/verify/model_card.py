"""Comparison of an exported model with the numbers in its model card, which needs no reference model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .bounds import Bounds
from .comparison import sigmoid
from .errors import VerifyError
from .texts import CARD_COSINES, CARD_DOCUMENTS, CARD_LOGITS, CARD_PAIRS, CARD_QUERIES


@dataclass(frozen=True, slots=True)
class CardReport:
    """The result of the comparison.

    Attributes:
        numbers: How many numbers were compared.
        worst: The largest difference.
        bound: The largest difference allowed.
        what: What the numbers are: cosines, logits or scores.
    """

    numbers: int
    worst: float
    bound: float
    what: str

    @property
    def fault(self) -> str | None:
        """The fault as a sentence; None if the numbers are within the bound."""
        if self.worst <= self.bound:  # false for NaN
            return None
        return f"the {self.what} differ from the model card's by {self.worst:.1e}, more than {self.bound:g}"


def published(*sources: str) -> str | None:
    """Return the first of these sources whose model card has numbers; None if there is none."""
    return next((source for source in sources if source in CARD_COSINES or source in CARD_LOGITS), None)


def compare_with_card(source: str, rows: Mapping[str, npt.NDArray[np.float32]], *, bounds: Bounds) -> CardReport:
    """Compare with the model card of a published checkpoint.

    Args:
        source: From `published`.
        rows: The exported model's row of each case that was not truncated, by name.
        bounds: The bounds of its precision.

    Raises:
        VerifyError: The card's texts were truncated, or belong to the other kind of model.
    """
    names = [item.name for item in (CARD_PAIRS if source in CARD_LOGITS else (*CARD_QUERIES, *CARD_DOCUMENTS))]
    if not set(names) <= set(rows):
        raise VerifyError(
            f"the numbers in the model card of {source} cannot be compared, because its texts were truncated or not "
            "run; raise --max-tokens, or correct --source"
        )
    card = np.stack([rows[name].astype(np.float64) for name in names])
    if source in CARD_COSINES:
        cosines = card[: len(CARD_QUERIES)] @ card[len(CARD_QUERIES) :].T
        expected = np.array(CARD_COSINES[source])
        return CardReport(expected.size, float(np.abs(cosines - expected).max()), bounds.card, "cosines")
    logits = np.array(CARD_LOGITS[source])
    if bounds.logit is not None:
        return CardReport(logits.size, float(np.abs(card[:, 1] - logits).max()), bounds.logit, "logits")
    scores = np.array([sigmoid(float(logit)) for logit in logits])
    return CardReport(scores.size, float(np.abs(card[:, 0] - scores).max()), bounds.score, "scores")
