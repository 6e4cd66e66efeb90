"""Conversion between Triton's tensors and numpy arrays, the same with numpy 1 and numpy 2.

The python backend of Triton 2.51 was compiled against numpy 1. With numpy 2, its `as_numpy` and its
`Tensor(name, array)` give empty tensors without an error, while exchange through DLPack works; with numpy 1, it is
DLPack that does not work. All hosts convert through this module, which chooses the one that works.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

_HAS_NUMPY_2 = np.lib.NumpyVersion(np.__version__) >= "2.0.0"


def as_array(tensor: pb_utils.Tensor) -> npt.NDArray[Any]:
    """Return a tensor as an array. It may share the request's memory, so copy what must outlive the request."""
    return np.from_dlpack(tensor) if _HAS_NUMPY_2 else tensor.as_numpy()


def as_tensor(name: str, array: npt.NDArray[Any]) -> pb_utils.Tensor:
    """Return an array as a tensor."""
    array = np.ascontiguousarray(array)  # Triton's DLPack exchange does not support strides
    return pb_utils.Tensor.from_dlpack(name, array) if _HAS_NUMPY_2 else pb_utils.Tensor(name, array)
