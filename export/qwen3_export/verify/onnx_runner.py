"""Running an exported model in ONNX Runtime on this machine, from the same graph that the embedded host runs.

The only module of verify that imports ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from qwen3_export.cpu import open_session
from qwen3_export.onnx_runtime import runtime

from .cases import Ids
from .errors import VerifyError
from .model_directory import OUTPUTS, ModelDirectory
from .runner import Rows, Together

_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


def require_device(model: ModelDirectory) -> None:
    """Make sure that ONNX Runtime can run a model on this machine, before other work is done for it.

    Raises:
        VerifyError: The model was exported for CUDA, which the installed ONNX Runtime does not support.
    """
    if model.device == "cuda" and _CUDA not in runtime().get_available_providers():
        raise VerifyError(
            f"{model.name} was exported for CUDA, but the installed ONNX Runtime runs on CPUs only; verify a server "
            "that has a GPU (Triton's container, docs/docker.md) with --url, or install onnxruntime-gpu on a machine "
            "with a GPU"
        )


class OnnxRunner:
    """A `Runner` in this process."""

    def __init__(self, model: ModelDirectory) -> None:
        """Load the graph.

        Raises:
            VerifyError: ONNX Runtime cannot load it, or its outputs are those of another kind of model.
        """
        self._model = model
        self._outputs = OUTPUTS[model.kind]
        # Exports for CPUs are verified on the CPU even if there is a GPU.
        wants_gpu = model.device == "cuda" and _CUDA in runtime().get_available_providers()
        try:
            self._session: Any = open_session(model.graph, providers=[_CUDA, _CPU] if wants_gpu else [_CPU])
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's own errors have no common base class
            raise VerifyError(self._refusal("does not load", error)) from None
        found = {output.name for output in self._session.get_outputs()}
        if not set(self._outputs) <= found:
            raise VerifyError(
                f"the manifest of {model.name} says that its kind is {model.kind}, but the outputs of its graph are "
                f"{', '.join(sorted(found))}; export the model again"
            )

    def alone(self, ids: Ids) -> Rows:
        """See `Runner`."""
        return self._run([ids])

    def together(self, batch: Sequence[Ids]) -> Together:
        """See `Runner`."""
        return Together(self._run(batch), shared=len(batch))

    def close(self) -> None:
        """See `Runner`."""
        self._session = None

    def _run(self, batch: Sequence[Ids]) -> Rows:
        lengths = np.array([[ids.size] for ids in batch], np.int32)
        try:
            outputs = self._session.run(self._outputs, {"input_ids": np.concatenate(batch), "lengths": lengths})
        except Exception as error:  # noqa: BLE001 - see above
            raise VerifyError(self._refusal(f"fails on {lengths.sum()} tokens", error)) from None
        return np.concatenate([np.asarray(output, np.float32) for output in outputs], axis=1)

    def _refusal(self, what: str, error: Exception) -> str:
        reason = " ".join(str(error).split())[:300]
        if "allocat" in reason:
            size = sum(stored.bytes for stored in self._model.files.values())
            remedy = f"its weights take {size / 1e9:.1f} GB, and long texts take more; try a lower --max-tokens"
        elif self._model.device == "cuda":
            remedy = "an export for CUDA runs on GPUs only: verify a server that has one with --url"
        else:
            remedy = "export the model again, or upgrade onnxruntime"
        return f"{self._model.name} {what} in ONNX Runtime {runtime().__version__} ({reason}); {remedy}"
