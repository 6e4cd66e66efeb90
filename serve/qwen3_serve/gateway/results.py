"""What the engine returns: the vectors of a request's texts, or the scores of its pairs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from qwen3_client import Judgement, ModelInfo, RerankerInfo

# An empty document answers no query. Its logit is below any that the model gives, and its score is what that rounds to.
EMPTY_DOCUMENT = Judgement(score=0.0, logit=-100.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingResult:
    """The vectors of a request's texts.

    Attributes:
        info: The model that computed them.
        vectors: FP32 `[n, dimensions]`, in the order of the inputs.
        tokens: How many tokens the model read.
    """

    info: ModelInfo
    vectors: NDArray[np.float32]
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankingResult:
    """The scores of a request's pairs.

    Attributes:
        info: The model that computed them.
        judgements: Score and logit of each pair, in the order of the documents.
        tokens: How many tokens the model read.
    """

    info: RerankerInfo
    judgements: list[Judgement]
    tokens: int

    def order(self) -> list[int]:
        """Return the indices of the documents, the best first; equal ones keep their order."""
        judgements = self.judgements
        return sorted(range(len(judgements)), key=lambda i: (-judgements[i].score, -judgements[i].logit, i))
