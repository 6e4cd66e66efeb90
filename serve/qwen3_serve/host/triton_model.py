"""The embedded host: Triton's python backend loads this file and hands over every batch that its scheduler formed.

It refuses bad requests, each by itself, lets the engine beside it run the same ``model.onnx`` that the onnxruntime
backend would run, and gives each request its own rows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
from qwen3_export.triton_tensors import as_array, as_tensor

from .packed_engine import PackedEngine, Settings
from .prefix_cache import Ids


class TritonPythonModel:
    """One model instance. Triton calls the three methods by these names."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the graph.

        Args:
            args: From Triton: the model's directory, version, and configuration as JSON.
        """
        configured = json.loads(args["model_config"])["parameters"]
        parameters = {key: value["string_value"] for key, value in configured.items()}
        self._max_tokens = int(parameters["max_tokens"])
        self._vocabulary = int(parameters["vocabulary"])
        self._engine = PackedEngine(
            Path(args["model_repository"]) / args["model_version"] / "model.onnx",
            Settings.from_parameters(parameters),
            threads=int(os.environ.get("QWEN3_TRITON_THREADS", "0")),  # `qwen3-triton serve --threads`
        )

    def execute(self, requests: Sequence[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """Run one batch.

        A request holds one text ``[1, n]`` or several of equal length ``[b, n]``. A bad one gets an error of its own
        and never reaches the graph, so it cannot harm its neighbours.
        """
        responses: list[pb_utils.InferenceResponse | None] = []
        admitted: list[Ids] = []
        for request in requests:
            ids = as_array(pb_utils.get_input_tensor_by_name(request, "input_ids"))
            refusal = self._refusal(ids)
            if refusal is None:
                admitted.append(ids)
                responses.append(None)
            else:
                responses.append(_error(refusal, pb_utils.TritonError.INVALID_ARG))
        answers = iter(self._run(admitted))
        return [next(answers) if response is None else response for response in responses]

    def finalize(self) -> None:
        """Release the session."""
        del self._engine

    def _refusal(self, ids: Ids) -> str | None:
        """Why a request cannot run, or None."""
        tokens = ids.shape[1]
        if tokens == 0:
            return "input_ids is empty; send at least the final <|endoftext|>"
        if tokens > self._max_tokens:
            return f"input_ids has {tokens} tokens, more than the model's {self._max_tokens}; truncate the text"
        if ids.min() < 0 or ids.max() >= self._vocabulary:
            return f"input_ids must lie between 0 and {self._vocabulary - 1}; is this the model's own tokenizer?"
        return None

    def _run(self, requests: list[Ids]) -> list[pb_utils.InferenceResponse]:
        """Answer requests ``[b_i, n_i]``, in their order."""
        try:
            rows = self._engine.run([row for ids in requests for row in ids])
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the requests must be answered
            return [_error(f"the model failed: {error}", pb_utils.TritonError.INTERNAL)] * len(requests)
        ends = np.cumsum([ids.shape[0] for ids in requests])
        return [
            pb_utils.InferenceResponse(
                [
                    as_tensor(name, all_rows[end - ids.shape[0] : end])
                    for name, all_rows in zip(self._engine.outputs, rows, strict=True)
                ]
            )
            for ids, end in zip(requests, ends, strict=True)
        ]


def _error(message: str, code: int) -> pb_utils.InferenceResponse:
    return pb_utils.InferenceResponse([], error=pb_utils.TritonError(message, code))
