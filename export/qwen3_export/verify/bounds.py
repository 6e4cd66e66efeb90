"""How far the results of each precision may be from those of transformers in float32."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import VerifyError


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of one precision; None for a measure that is shown but has no bound.

    Attributes:
        cosine: Smallest cosine of an embedding with its reference.
        difference: Largest difference of an embedding's elements.
        logit: Largest difference of a reranker's logit.
        score: Largest difference of a reranker's score.
        card: Largest difference from the cosines in the model card.
        same_bits: Whether a text's result must be the same, bit for bit, alone and in any batch.
    """

    cosine: float
    difference: float | None
    logit: float | None
    score: float
    card: float
    same_bits: bool = True


_BOUNDS = {
    "fp32": Bounds(cosine=0.999999, difference=1e-5, logit=1e-4, score=1e-4, card=1e-4),
    # On GPUs, the order of summation depends on the batch's shape, so the bits may differ. bf16-residual, which has the
    # bounds of bf16, is three times as far from float32, and about as far as transformers in bf16.
    "bf16": Bounds(cosine=0.999, difference=None, logit=None, score=0.02, card=5e-3, same_bits=False),
    "fp16": Bounds(cosine=0.999, difference=None, logit=None, score=0.02, card=5e-3, same_bits=False),
    "int8": Bounds(cosine=0.99, difference=None, logit=None, score=0.05, card=0.05),
    # Random weights of the 0.6B shape, the hardest case for four bits, give 0.90.
    "int4": Bounds(cosine=0.85, difference=None, logit=None, score=0.15, card=0.05),
}


def bounds_for(precision: str) -> Bounds:
    """Return the bounds of a precision. Variants such as `int8-weight` have the bounds of their type.

    Raises:
        VerifyError: The precision is unknown.
    """
    bounds = _BOUNDS.get(precision.partition("-")[0])
    if bounds is None:
        raise VerifyError(f"there are no bounds for precision {precision!r}; upgrade qwen3-triton")
    return bounds
