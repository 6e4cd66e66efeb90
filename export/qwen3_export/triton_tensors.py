"""Arrays out of Triton's tensors and into them, the same under numpy 1 and numpy 2.

Triton 2.51's python backend was compiled against numpy 1. Under numpy 2 its `as_numpy` and its `Tensor(name, array)`
give empty tensors without any error, while the exchange by DLPack gives the right ones; under numpy 1 it is DLPack that
does not work. This module is the only one that knows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

_HAS_NUMPY_2 = np.lib.NumpyVersion(np.__version__) >= "2.0.0"


def as_array(tensor: pb_utils.Tensor) -> npt.NDArray[Any]:
    """Return a tensor's numbers. They may lie in the request's memory: copy what must outlive it."""
    return np.from_dlpack(tensor) if _HAS_NUMPY_2 else tensor.as_numpy()


def as_tensor(name: str, array: npt.NDArray[Any]) -> pb_utils.Tensor:
    """Return a tensor with an array's numbers."""
    array = np.ascontiguousarray(array)  # DLPack's tensors have no strides here
    return pb_utils.Tensor.from_dlpack(name, array) if _HAS_NUMPY_2 else pb_utils.Tensor(name, array)
