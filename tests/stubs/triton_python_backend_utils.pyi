"""Types of the module that Triton's python backend gives to model.py; it exists inside Triton only."""

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

class Tensor:
    def __init__(self, name: str, value: npt.NDArray[Any]) -> None: ...
    def as_numpy(self) -> npt.NDArray[Any]: ...

class TritonError:
    INVALID_ARG: int
    INTERNAL: int
    def __init__(self, message: str, code: int = ...) -> None: ...

class InferenceRequest: ...

class InferenceResponse:
    def __init__(self, output_tensors: Sequence[Tensor], error: TritonError | None = None) -> None: ...

def get_input_tensor_by_name(request: InferenceRequest, name: str) -> Tensor: ...
