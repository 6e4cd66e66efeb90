"""The embedded host's side towards Triton, whose python backend hands over every batch that its scheduler formed.

It refuses bad requests one by one, lets an engine run the model that the onnxruntime backend would run, and gives each
request its own rows of the outputs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import triton_python_backend_utils as pb_utils
from qwen3_export.cuda import open_cuda_session
from qwen3_export.triton_requests import RequestCheck, error_response
from qwen3_export.triton_tensors import as_array, as_tensor

from .batch_progress import BatchProgress
from .captured_engine import GRAPH, CapturedEngine, wants_cuda_graphs
from .cuda_engine import CudaEngine, CudaSettings
from .engine import Engine
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
        self._engine: Engine
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
                captured = CapturedEngine(session, max_batch_tokens=settings.max_batch_tokens, gpu=gpu)
                captured.check()
                self._engine = captured
            else:
                cuda = CudaEngine(
                    session,
                    max_batch_tokens=settings.max_batch_tokens,
                    gpu=gpu,
                    prefix_cache_tokens=settings.prefix_cache_tokens,
                )
                cuda.warm_up(max_tokens=int(parameters["max_tokens"]))
                self._engine = cuda
        else:
            threads = int(os.environ.get("QWEN3_TRITON_THREADS", "0"))  # `qwen3-triton serve --threads`
            packed = PackedEngine(model, Settings.from_parameters(parameters), threads=threads)
            # `qwen3_serve.triton.log` finds it by its form, for the message that says that the server is ready.
            pb_utils.Logger.log_info(f"attention of {args['model_name']}: {packed.attention}")
            self._engine = packed

    def execute(self, requests: Sequence[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse | None]:
        """Run one batch. A request holds one text `[1, n]`, or several of equal length `[b, n]`.

        A request is answered once its texts have run: its caller can use the answer, or send the next text, while the
        rest of the batch runs. Those of the last packed batch are answered together, which is cheaper.

        Returns:
            For each request its response, or None if it is answered already.
        """
        inputs: list[Ids] = [as_array(pb_utils.get_input_tensor_by_name(request, "input_ids")) for request in requests]
        responses = [self._check.refusal(ids) for ids in inputs]
        unanswered = [index for index, refusal in enumerate(responses) if refusal is None]
        # No error may leave this method once a response was sent: Triton 2.51 can crash then.
        try:
            for index, response, is_last in self._run({index: inputs[index] for index in unanswered}):
                if is_last:
                    responses[index] = response
                else:
                    sender = requests[index].get_response_sender()
                    sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
                unanswered.remove(index)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the requests must be answered
            for index in unanswered:
                responses[index] = error_response(f"the model failed: {error}", pb_utils.TritonError.INTERNAL)
        return responses

    def finalize(self) -> None:
        """Release the session."""
        del self._engine

    def _run(self, requests: Mapping[int, Ids]) -> Iterator[tuple[int, pb_utils.InferenceResponse, bool]]:
        """Run requests `[b_i, n_i]`.

        Yields:
            The index of each request, its response, and whether it is one of the last packed batch.
        """
        indices = list(requests)
        texts = [text for ids in requests.values() for text in ids]
        progress = BatchProgress([ids.shape[0] for ids in requests.values()])
        results = self._engine.empty(len(texts))
        for done in self._engine.fill(results, texts):
            finished, is_last = progress.finish(done), progress.is_complete
            for request, rows in finished:
                tensors = [
                    as_tensor(name, every[rows]) for name, every in zip(self._engine.outputs, results, strict=True)
                ]
                yield indices[request], pb_utils.InferenceResponse(tensors), is_last
