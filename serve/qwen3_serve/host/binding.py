"""Runs of a session whose inputs and outputs are arrays in the processor's memory. Knows nothing about texts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
from qwen3_export.cuda import explained

if TYPE_CHECKING:
    import onnxruntime as ort


def bind_arrays(
    binding: ort.IOBinding, *, inputs: Mapping[str, npt.NDArray[Any]], outputs: Mapping[str, npt.NDArray[Any]]
) -> None:
    """Bind arrays by name, which must live until the run has ended.

    Bound to this memory, outputs are copied from the GPU once, and no array is made by ONNX Runtime.
    """
    for name, array in inputs.items():
        binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
    for name, array in outputs.items():
        binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)


@contextlib.contextmanager
def explained_failure() -> Iterator[None]:
    """Raise what ONNX Runtime raises inside as a `RuntimeError` that says what to do about it."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's own errors have no common base class
        raise RuntimeError(explained(error)) from None
