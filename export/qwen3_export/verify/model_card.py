"""The exported model against the numbers that its model card publishes: needs no reference at all."""

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
    """What the comparison found.

    Attributes:
        numbers: How many numbers were compared.
        worst: Largest difference.
        bound: What it is held to.
        what: What the numbers are: cosines, logits or scores.
    """

    numbers: int
    worst: float
    bound: float
    what: str

    @property
    def fault(self) -> str | None:
        """What is out of bounds, or None."""
        if self.worst <= self.bound:  # NaN is not
            return None
        return f"the model card's {self.what} are missed by {self.worst:.1e}, more than {self.bound:g}"


def published(*sources: str) -> str | None:
    """The first of these Hub ids whose model card has numbers."""
    return next((source for source in sources if source in CARD_COSINES or source in CARD_LOGITS), None)


def compare_with_card(source: str, rows: Mapping[str, npt.NDArray[np.float32]], *, bounds: Bounds) -> CardReport:
    """Compare with the card of a published checkpoint.

    Args:
        source: From `published`.
        rows: The exported model's row of each whole case, by name.
        bounds: Of its precision.

    Raises:
        VerifyError: The card's texts were cut, or belong to the other kind of model.
    """
    names = [item.name for item in (CARD_PAIRS if source in CARD_LOGITS else (*CARD_QUERIES, *CARD_DOCUMENTS))]
    if not set(names) <= set(rows):
        raise VerifyError(
            f"the numbers of {source}'s model card cannot be compared, for its texts were cut or not run; "
            "raise --max-tokens, or correct --source"
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
