"""A model for Triton's python backend that answers each text with what the batch around it holds."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import triton_python_backend_utils as pb_utils

BUSY_S = 0.01  # long enough for requests to queue up behind it


class TritonPythonModel:
    """Triton calls ``execute`` with every batch that its scheduler formed."""

    def execute(self, requests: Sequence[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """Answer every text of the batch with ``[when, tokens, texts, longest]``; ``when`` tells batches apart."""
        shapes = [pb_utils.get_input_tensor_by_name(request, "input_ids").as_numpy().shape for request in requests]
        time.sleep(BUSY_S)
        tokens = sum(texts * length for texts, length in shapes)
        row = [time.monotonic_ns(), tokens, sum(texts for texts, _ in shapes), max(length for _, length in shapes)]
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("batch", np.array([row] * texts, np.int64))])
            for texts, _ in shapes
        ]
