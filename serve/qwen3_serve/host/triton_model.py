"""The embedded host's side towards Triton, whose python backend hands over every batch that its scheduler formed.

It refuses bad requests one by one, lets an engine run the model that the onnxruntime backend would run, and gives each
request its own rows of the outputs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import triton_python_backend_utils as pb_utils
from qwen3_export.cuda import open_cuda_session
from qwen3_export.triton_requests import RequestCheck, error_response, merge_responses
from qwen3_export.triton_tensors import as_array, as_tensor

from .captured_engine import GRAPH, CapturedEngine, wants_cuda_graphs
from .cuda_engine import CudaEngine, CudaSettings
from .packed_engine import PackedEngine, Settings
from .prefix_cache import Ids


class TritonPythonModel:
    """One model instance. Triton calls the three methods by these names."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the graph, on the device that it was exported for.

        Args:
            args: From Triton: the model's directory, version, instance, and configuration as JSON.
        """
        configured = json.loads(args["model_config"])["parameters"]
        parameters = {key: value["string_value"] for key, value in configured.items()}
        self._check = RequestCheck.from_parameters(parameters)
        model = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self._engine: PackedEngine | CudaEngine | CapturedEngine
        if parameters["device"] == "cuda":
            settings = CudaSettings.from_parameters(parameters)
            # A Triton with GPUs says which of them an instance of KIND_GPU is for; the embedded one has none.
            gpu = int(args["model_instance_device_id"]) if args["model_instance_kind"] == "GPU" else settings.gpu
            captures = wants_cuda_graphs(parameters, model.parent)
            session = open_cuda_session(
                model.with_name(GRAPH) if captures else model,
                gpu=gpu,
                memory_limit_bytes=settings.memory_limit_bytes,
                cuda_graphs=captures,
            )
            if captures:
                self._engine = CapturedEngine(session, max_batch_tokens=settings.max_batch_tokens, gpu=gpu)
                self._engine.check()
            else:
                self._engine = CudaEngine(
                    session,
                    max_batch_tokens=settings.max_batch_tokens,
                    gpu=gpu,
                    prefix_cache_tokens=settings.prefix_cache_tokens,
                )
                self._engine.warm_up(max_tokens=int(parameters["max_tokens"]))
        else:
            threads = int(os.environ.get("QWEN3_TRITON_THREADS", "0"))  # `qwen3-triton serve --threads`
            self._engine = PackedEngine(model, Settings.from_parameters(parameters), threads=threads)
            # `qwen3_serve.triton.log` finds it by its form, for the message that says that the server is ready.
            pb_utils.Logger.log_info(f"attention of {args['model_name']}: {self._engine.attention}")

    def execute(self, requests: Sequence[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """Run one batch. A request holds one text `[1, n]`, or several of equal length `[b, n]`."""
        inputs: list[Ids] = [as_array(pb_utils.get_input_tensor_by_name(request, "input_ids")) for request in requests]
        refusals = [self._check.refusal(ids) for ids in inputs]
        accepted = [ids for ids, refusal in zip(inputs, refusals, strict=True) if refusal is None]
        return merge_responses(refusals, self._run(accepted))

    def finalize(self) -> None:
        """Release the session."""
        del self._engine

    def _run(self, requests: list[Ids]) -> list[pb_utils.InferenceResponse]:
        """Answer requests `[b_i, n_i]`, in their order."""
        try:
            outputs = self._engine.run([text for ids in requests for text in ids])
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the requests must be answered
            return [error_response(f"the model failed: {error}", pb_utils.TritonError.INTERNAL)] * len(requests)
        ends = list(accumulate(ids.shape[0] for ids in requests))
        return [
            pb_utils.InferenceResponse(
                [
                    as_tensor(name, output[end - ids.shape[0] : end])
                    for name, output in zip(self._engine.outputs, outputs, strict=True)
                ]
            )
            for ids, end in zip(requests, ends, strict=True)
        ]
