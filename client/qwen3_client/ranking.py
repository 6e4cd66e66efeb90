"""What comes of reranking: judgements put in order.

Pure functions; nothing here knows where a judgement came from.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .errors import InvalidInputError


class Judgement(NamedTuple):
    """What the reranker says about one pair, each number exactly as the server's float32.

    Attributes:
        score: P(yes), from 0 to 1.
        logit: logit(yes) - logit(no); the score is its sigmoid.
    """

    score: float
    logit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedDocument:
    """A document's place among those that were ranked with it.

    Attributes:
        index: position of the document, counted from 0, among those that were given.
        score: probability that it meets the query, from 0 to 1.
        logit: the score before it was squeezed into 0 to 1; finer where scores come close to either.
        document: its text; None unless it was asked for.
    """

    index: int
    score: float
    logit: float
    document: str | None


def checked_top_k(top_k: int | None) -> int | None:
    """Return how many documents shall be kept; None for all.

    Raises:
        InvalidInputError: `top_k` is not a whole number of at least 1.
    """
    if top_k is None:
        return None
    try:
        most = operator.index(top_k)
    except TypeError:
        most = 0
    if most < 1 or isinstance(top_k, bool):
        raise InvalidInputError(f"top_k must be a whole number of at least 1, not {top_k!r}")
    return most


def ranked(
    judgements: Sequence[Judgement], *, documents: Sequence[str] | None, top_k: int | None
) -> list[RankedDocument]:
    """Put documents in order, the best first.

    Equal scores, as those that float32 rounds to 0 or 1, are told apart by the logit, and documents that are
    equal in both keep the order they came in.

    Args:
        judgements: one for each document, in the order of the documents.
        documents: the texts to hand out with their places; None for none.
        top_k: how many to keep; None for all.
    """
    order = sorted(range(len(judgements)), key=lambda i: (-judgements[i].score, -judgements[i].logit, i))
    return [
        RankedDocument(
            index=i,
            score=judgements[i].score,
            logit=judgements[i].logit,
            document=None if documents is None else documents[i],
        )
        for i in order[:top_k]
    ]
