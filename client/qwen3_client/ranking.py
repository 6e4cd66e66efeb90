"""The results of reranking: judgements, and documents ranked by them.

Pure functions. This module knows nothing about requests or models.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .errors import InvalidInputError


class Judgement(NamedTuple):
    """The judgement of the reranker on one pair. The numbers are exactly the float32 numbers of the server.

    Attributes:
        score: P(yes), from 0 to 1.
        logit: logit(yes) - logit(no); the score is its sigmoid.
    """

    score: float
    logit: float


class JudgedPair(NamedTuple):
    """The judgement on a pair, and what of the pair it is about.

    Attributes:
        judgement: the judgement.
        is_query_cut: whether the query lost its end, because the pair has more tokens than the model takes.
        is_document_cut: whether the document did.
    """

    judgement: Judgement
    is_query_cut: bool = False
    is_document_cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedDocument:
    """A document in a ranking.

    Attributes:
        index: index of the document, from 0, among the documents of the call.
        score: probability that it meets the query, from 0 to 1.
        logit: logit(yes) - logit(no), of which the score is the sigmoid; more precise for scores close to 0 or 1.
        document: its text; None unless the call asked for texts.
        is_query_cut: whether the query lost its end, because with this document it has more tokens than the model
            takes.
        is_document_cut: whether the document lost its end.
    """

    index: int
    score: float
    logit: float
    document: str | None
    is_query_cut: bool = False
    is_document_cut: bool = False


def checked_top_k(top_k: int | None) -> int | None:
    """Return how many of the best documents to keep, after checking it; None for all.

    Raises:
        InvalidInputError: `top_k` is not an integer of at least 1.
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


def ranked(pairs: Sequence[JudgedPair], *, documents: Sequence[str] | None, top_k: int | None) -> list[RankedDocument]:
    """Return the documents in order, the best first.

    Documents with equal scores, such as those that float32 rounds to 0 or 1, are ordered by their logits. Documents
    with equal logits too keep their order.

    Args:
        pairs: the query with each document, in the order of the documents.
        documents: the texts to include in the ranking; None to leave them out.
        top_k: how many of the best documents to return; None for all.
    """
    order = sorted(range(len(pairs)), key=lambda i: (-pairs[i].judgement.score, -pairs[i].judgement.logit, i))
    return [
        RankedDocument(
            index=i,
            score=pairs[i].judgement.score,
            logit=pairs[i].judgement.logit,
            document=None if documents is None else documents[i],
            is_query_cut=pairs[i].is_query_cut,
            is_document_cut=pairs[i].is_document_cut,
        )
        for i in order[:top_k]
    ]
