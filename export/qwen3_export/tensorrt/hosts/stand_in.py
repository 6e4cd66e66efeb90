"""The stand-in for a TensorRT plan: ONNX Runtime on a CPU runs the graph from which the plan is built.

Triton's python backend loads this file with the configuration `embedded`, which `qwen3-triton serve` asks for. So
everything around the plan can be tried on any machine; it is not meant to be fast.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import triton_python_backend_utils as pb_utils
from triton_tensors import as_array, as_tensor

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when ONNX Runtime is imported
import onnxruntime as ort


class TritonPythonModel:
    """One model instance. Triton calls the three methods by these names."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the graph.

        Args:
            args: Triton's arguments, among them the model's directory and version.
        """
        options = ort.SessionOptions()
        # `qwen3-triton serve --threads`; 0, the default, takes every core.
        options.intra_op_num_threads = int(os.environ.get("QWEN3_TRITON_THREADS", "0"))
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own types share no base
            raise pb_utils.TritonModelException(
                f"ONNX Runtime cannot run this graph on a CPU ({error}); bf16 needs a GPU, so export with --precision "
                "fp32 to try it without one"
            ) from error
        self._inputs = [tensor.name for tensor in self._session.get_inputs()]
        self._outputs = [tensor.name for tensor in self._session.get_outputs()]

    def execute(self, requests: Sequence[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """Run the requests one by one; each is a padded batch `[batch, seq]`."""
        return [self._run(request) for request in requests]

    def finalize(self) -> None:
        """Release the session."""
        del self._session

    def _run(self, request: pb_utils.InferenceRequest) -> pb_utils.InferenceResponse:
        feed = {name: as_array(pb_utils.get_input_tensor_by_name(request, name)) for name in self._inputs}
        try:
            rows = self._session.run(self._outputs, feed)
        except Exception as error:  # noqa: BLE001 - the request must be answered, whatever the error is
            failure = pb_utils.TritonError(f"ONNX Runtime failed: {error}", pb_utils.TritonError.INTERNAL)
            return pb_utils.InferenceResponse([], error=failure)
        return pb_utils.InferenceResponse([as_tensor(name, row) for name, row in zip(self._outputs, rows, strict=True)])
