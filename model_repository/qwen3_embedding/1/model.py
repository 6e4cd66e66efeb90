"""The embedded host: requests become one packed batch, rows become responses.

Triton's python backend loads this file and hands over every batch that its scheduler formed. The host concatenates the
texts, runs the same ``model.onnx`` that the onnxruntime backend would run, and gives each request its own rows. It
knows nothing about text, tokenizers or pooling.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import triton_python_backend_utils as pb_utils

Ids = npt.NDArray[np.int64]


class TritonPythonModel:
    """One model instance. Triton calls the three methods by these names."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the graph.

        Args:
            args: From Triton: the model's directory, version, and configuration as JSON.
        """
        parameters = json.loads(args["model_config"])["parameters"]
        self._max_tokens = int(parameters["max_tokens"]["string_value"])
        self._vocabulary = int(parameters["vocabulary"]["string_value"])
        options = ort.SessionOptions()
        # `qwen3-triton serve --threads`; 0, the default, takes every core.
        options.intra_op_num_threads = int(os.environ.get("QWEN3_TRITON_THREADS", "0"))
        # Memory patterns are planned anew for each new shape, and ragged batches hardly ever repeat one.
        options.enable_mem_pattern = False
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._outputs = [output.name for output in self._session.get_outputs()]

    def execute(self, requests: Sequence[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """Run one batch.

        A request holds one text ``[1, n]`` or several of equal length ``[b, n]``. A bad one gets an error of its own
        and never reaches the graph, so it cannot harm its neighbours.
        """
        responses: list[pb_utils.InferenceResponse | None] = []
        admitted: list[Ids] = []
        for request in requests:
            ids = pb_utils.get_input_tensor_by_name(request, "input_ids").as_numpy()
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
        del self._session

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

    def _run(self, texts: list[Ids]) -> list[pb_utils.InferenceResponse]:
        """Run requests ``[b_i, n_i]`` as one packed batch and split its rows among them."""
        if not texts:
            return []
        packed = {
            "input_ids": np.concatenate([ids.reshape(-1) for ids in texts]),
            "lengths": np.concatenate([np.full((ids.shape[0], 1), ids.shape[1], np.int32) for ids in texts]),
        }
        try:
            results = self._session.run(self._outputs, packed)
        except Exception as error:  # noqa: BLE001 - whatever ONNX Runtime says, the requests must be answered
            return [_error(f"ONNX Runtime failed: {error}", pb_utils.TritonError.INTERNAL)] * len(texts)
        ends = np.cumsum([ids.shape[0] for ids in texts])[:-1]
        split = [np.split(result, ends) for result in results]
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor(name, rows) for name, rows in zip(self._outputs, request_rows, strict=True)]
            )
            for request_rows in zip(*split, strict=True)
        ]


def _error(message: str, code: int) -> pb_utils.InferenceResponse:
    return pb_utils.InferenceResponse([], error=pb_utils.TritonError(message, code))
