"""The embedded host: requests become packed batches, rows become responses.

Triton's python backend loads this file and hands over every batch that its scheduler formed. The host orders the texts
by length, cuts them into packed batches that suit a CPU, runs the same ``model.onnx`` that the onnxruntime backend
would run, and gives each request its own rows. It knows nothing about text, tokenizers or pooling.
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
        self._max_batch_tokens = int(parameters["max_batch_tokens"]["string_value"])
        self._max_slots_per_token = float(parameters["max_slots_per_token"]["string_value"])
        # `qwen3-triton serve --threads`
        options = session_options(threads=int(os.environ.get("QWEN3_TRITON_THREADS", "0")))
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

    def _run(self, requests: list[Ids]) -> list[pb_utils.InferenceResponse]:
        """Answer requests ``[b_i, n_i]``, in their order."""
        texts = [row for ids in requests for row in ids]
        rows = [np.empty((len(texts), *output.shape[1:]), np.float32) for output in self._session.get_outputs()]
        try:
            for batch in packed_batches(
                [text.size for text in texts],
                max_tokens=self._max_batch_tokens,
                max_slots_per_token=self._max_slots_per_token,
            ):
                packed = {
                    "input_ids": np.concatenate([texts[i] for i in batch]),
                    "lengths": np.array([[texts[i].size] for i in batch], np.int32),
                }
                for all_rows, own in zip(rows, self._session.run(self._outputs, packed), strict=True):
                    all_rows[batch] = own
        except Exception as error:  # noqa: BLE001 - whatever ONNX Runtime says, the requests must be answered
            return [_error(f"ONNX Runtime failed: {error}", pb_utils.TritonError.INTERNAL)] * len(requests)
        ends = np.cumsum([ids.shape[0] for ids in requests])
        return [
            pb_utils.InferenceResponse(
                [
                    pb_utils.Tensor(name, all_rows[end - ids.shape[0] : end])
                    for name, all_rows in zip(self._outputs, rows, strict=True)
                ]
            )
            for ids, end in zip(requests, ends, strict=True)
        ]


def session_options(*, threads: int) -> ort.SessionOptions:
    """How ONNX Runtime runs the graph.

    Args:
        threads: Of one operator; 0 takes every core.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # Memory patterns are planned anew for each new shape, and ragged batches hardly ever repeat one.
    options.enable_mem_pattern = False
    # Attention takes exp() of what it masked: denormal numbers, which processors compute a hundred times slower.
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    return options


def packed_batches(lengths: Sequence[int], *, max_tokens: int, max_slots_per_token: float) -> list[list[int]]:
    """Cut texts into packed batches of like lengths.

    Attention computes a rectangle as wide as the longest text of its batch, so one long text among short ones would
    cost as much as if all were long; and small batches, whose activations stay in the cache, run faster on a CPU.

    Args:
        lengths: Tokens of each text, at least 1.
        max_tokens: Most tokens of a batch; a longer text makes a batch of its own.
        max_slots_per_token: Most slots of attention's rectangle for each token in it; 1 allows no padding at all.

    Returns:
        For each batch the places of its texts, shorter texts first. Every text is in exactly one batch.
    """
    batches: list[list[int]] = []
    tokens = 0
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        length = lengths[place]
        tokens += length
        # Texts come in ascending order: this one is the longest so far.
        slots = (len(batches[-1]) + 1) * length if batches else 0
        if not batches or tokens > max_tokens or slots > max_slots_per_token * tokens:
            batches.append([])
            tokens = length
        batches[-1].append(place)
    return batches


def _error(message: str, code: int) -> pb_utils.InferenceResponse:
    return pb_utils.InferenceResponse([], error=pb_utils.TritonError(message, code))
