"""The check of requests before a host runs them, and the responses to those that it refuses; for all hosts.

A bad request gets an error of its own and never reaches the model, so it cannot harm the requests in the same batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RequestCheck:
    """What the model takes.

    Attributes:
        max_tokens: Most tokens of one text.
        vocabulary: Number of token ids.
    """

    max_tokens: int
    vocabulary: int

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> RequestCheck:
        """Read the parameters of a model's configuration."""
        return cls(max_tokens=int(parameters["max_tokens"]), vocabulary=int(parameters["vocabulary"]))

    def refusal(self, ids: Ids) -> pb_utils.InferenceResponse | None:
        """Return the error response to a request that cannot run; None if it can.

        Args:
            ids: The request's `input_ids`, INT64 `[texts, tokens]`.
        """
        tokens = ids.shape[1]
        if tokens == 0:
            message = "input_ids is empty; send at least the final <|endoftext|>"
        elif tokens > self.max_tokens:
            message = f"input_ids has {tokens} tokens, more than the model's {self.max_tokens}; truncate the text"
        elif ids.view(np.uint64).max() >= self.vocabulary:  # where a negative number is a large one
            message = f"input_ids must be from 0 to {self.vocabulary - 1}; are they from the model's own tokenizer?"
        else:
            return None
        return error_response(message, pb_utils.TritonError.INVALID_ARG)


def error_response(message: str, code: int) -> pb_utils.InferenceResponse:
    """Return a response that is an error; `code` is one of `pb_utils.TritonError`'s."""
    return pb_utils.InferenceResponse([], error=pb_utils.TritonError(message, code))
