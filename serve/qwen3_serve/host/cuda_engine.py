"""The engine of the embedded host on a GPU: takes the token ids of texts, returns the graph's outputs for each of them.

Attention on CUDA does not pad, so texts of any lengths share a batch, up to a token budget. A shared prefix is computed
with every text. This module knows nothing about Triton, drivers or text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from qwen3_export.cuda import explained

from .numbers import number
from .output_arrays import OutputArrays
from .packed_batches import packed_batches
from .prefix_cache import Ids

if TYPE_CHECKING:
    import onnxruntime as ort

_MAX_TEXTS = 256  # of one batch of PagedAttention; releases before 1.26 do not check it and give wrong results


@dataclass(frozen=True, slots=True)
class CudaSettings:
    """How an export for CUDA runs, from the parameters in `configs/embedded.pbtxt`.

    Attributes:
        max_batch_tokens: The token budget: most tokens that one batch computes. A longer text gets a batch of its own.
        gpu: Index of the GPU.
        memory_limit_bytes: Most memory of the GPU that the session may take; None for all.
    """

    max_batch_tokens: int
    gpu: int
    memory_limit_bytes: int | None

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> CudaSettings:
        """Read a configuration's parameters.

        Raises:
            ValueError: One is not a number, or too small.
        """
        limited = "gpu_mem_limit" in parameters
        return cls(
            number(parameters, "max_batch_tokens", int, least=1),
            number(parameters, "gpu", int, least=0),
            number(parameters, "gpu_mem_limit", int, least=1) if limited else None,
        )


class CudaEngine:
    """A session on an exported graph.

    Args:
        session: The session, from `open_cuda_session`.
        max_batch_tokens: The token budget.
    """

    def __init__(self, session: ort.InferenceSession, *, max_batch_tokens: int) -> None:
        self._session = session
        self._max_batch_tokens = max_batch_tokens
        self._outputs = OutputArrays(session.get_outputs())

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the arrays that `run` returns."""
        return self._outputs.names

    def run(self, texts: Sequence[Ids]) -> list[npt.NDArray[Any]]:
        """Run texts.

        Args:
            texts: The token ids of each text, INT64 `[n_i]`, all of which the model takes.

        Returns:
            For each output `[len(texts), size]`, in the order of the texts: FP32, and INT64 for the fingerprint.

        Raises:
            RuntimeError: ONNX Runtime failed, for example for lack of memory.
        """
        results = self._outputs.empty(len(texts))
        batches = packed_batches(
            [ids.size for ids in texts],
            max_tokens=self._max_batch_tokens,
            max_slots_per_token=math.inf,
            max_texts=_MAX_TEXTS,
        )
        for batch in batches:
            for result, rows in zip(results, self._run([texts[index] for index in batch]), strict=True):
                result[batch] = rows
        return results

    def _run(self, texts: Sequence[Ids]) -> list[npt.NDArray[Any]]:
        """Run one packed batch."""
        inputs: dict[str, npt.NDArray[np.int64] | npt.NDArray[np.int32]] = {
            "input_ids": np.concatenate(texts),
            "lengths": np.array([[ids.size] for ids in texts], np.int32),
        }
        outputs = self._outputs.empty(len(texts))
        # Bound to this memory, the outputs are copied from the GPU once, and no array is made by ONNX Runtime.
        binding = self._session.io_binding()
        for name, array in inputs.items():
            binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for name, rows in zip(self._outputs.names, outputs, strict=True):
            binding.bind_output(name, "cpu", 0, rows.dtype, rows.shape, rows.ctypes.data)
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's own errors have no common base class
            raise RuntimeError(explained(error)) from None
        return outputs
