"""A CUDA graph in ONNX's reference evaluator behind the part of ONNX Runtime's interface that the host uses on a GPU.

What is bound to the GPU is any array that stays with the binding, as an OrtValue does: the host must not look into it.
"""

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from support.contrib_operators import HalfSession

Array = npt.NDArray[Any]
_TYPES: dict[int, str] = {
    onnx.TensorProto.FLOAT: "tensor(float)",
    onnx.TensorProto.INT64: "tensor(int64)",
    onnx.TensorProto.BFLOAT16: "tensor(bfloat16)",
    onnx.TensorProto.FLOAT16: "tensor(float16)",
}


@dataclass(frozen=True, slots=True)
class OnGpu:
    """What stands for an OrtValue on a GPU."""

    array: Array


@dataclass(frozen=True, slots=True)
class Output:
    """An output as a session describes it."""

    name: str
    type: str
    shape: list[int | str]


class Binding:
    """Inputs and outputs of one run."""

    def __init__(self, gpu: int) -> None:
        self._gpu = gpu
        self.inputs: dict[str, Array] = {}
        self.outputs: dict[str, Array | None] = {}  # None for those that stay on the GPU
        self.results: list[OnGpu] = []

    def bind_input(self, name: str, device: str, _index: int, dtype: Any, shape: Any, pointer: int) -> None:  # noqa: ANN401
        assert device == "cpu"
        self.inputs[name] = _at(pointer, dtype, shape)

    def clear_binding_inputs(self) -> None:
        self.inputs.clear()

    def bind_ortvalue_input(self, name: str, value: OnGpu) -> None:
        assert isinstance(value, OnGpu)
        self.inputs[name] = value.array

    def bind_output(
        self,
        name: str,
        device: str,
        index: int,
        dtype: Any = None,  # noqa: ANN401
        shape: tuple[int, ...] = (),
        pointer: int | None = None,
    ) -> None:
        assert (device == "cuda") == (pointer is None)
        assert index == (self._gpu if device == "cuda" else 0)
        self.outputs[name] = None if pointer is None else _at(pointer, dtype, shape)

    def get_outputs(self) -> list[OnGpu]:
        return self.results


class BoundSession:
    """A session that keeps the inputs of its runs.

    Args:
        graph: The `model.onnx` file.
        gpu: Index of the GPU that it would be on.
    """

    def __init__(self, graph: Path, *, gpu: int = 0) -> None:
        self.gpu = gpu
        self._session = HalfSession(graph)
        values = onnx.load(graph, load_external_data=False).graph.output
        kinds = [value.type.tensor_type for value in values]
        self._outputs = [
            Output(value.name, _TYPES[kind.elem_type], [dim.dim_value or dim.dim_param for dim in kind.shape.dim])
            for value, kind in zip(values, kinds, strict=True)
        ]
        self.runs: list[dict[str, Array]] = []
        self.error = ""

    def get_outputs(self) -> list[Output]:
        return self._outputs

    def io_binding(self) -> Binding:
        return Binding(self.gpu)

    def run_with_iobinding(self, binding: Binding) -> None:
        self.runs.append({name: array.copy() for name, array in binding.inputs.items()})
        if self.error:
            raise RuntimeError(self.error)
        results = self._session.evaluated(binding.inputs)
        for name, memory in binding.outputs.items():
            if memory is not None:
                memory[...] = results[name]
            binding.results.append(OnGpu(results[name]))


def _at(pointer: int, dtype: Any, shape: tuple[int, ...]) -> Array:  # noqa: ANN401
    """Return the array at an address, which its owner keeps."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    array: Array = np.frombuffer(memoryview((ctypes.c_char * size).from_address(pointer)).cast("B"), dtype)
    return array.reshape(shape)
