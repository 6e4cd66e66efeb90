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
    def message(self) -> str: ...

class TritonModelException(Exception): ...  # noqa: N818 - Triton's name
class TRITONSERVER_MEMORY_CPU: ...  # noqa: N801 - Triton's name; a constant, of a type of its own

class PreferredMemory:
    def __init__(self, kind: object, device_id: int = 0) -> None: ...

class InferenceRequest:
    def __init__(
        self,
        *,
        model_name: str,
        requested_output_names: Sequence[str],
        inputs: Sequence[Tensor],
        preferred_memory: PreferredMemory = ...,
    ) -> None: ...
    async def async_exec(self) -> InferenceResponse: ...

class InferenceResponse:
    def __init__(self, output_tensors: Sequence[Tensor], error: TritonError | None = None) -> None: ...
    def has_error(self) -> bool: ...
    def error(self) -> TritonError: ...

def get_output_tensor_by_name(response: InferenceResponse, name: str) -> Tensor: ...
def get_input_tensor_by_name(request: InferenceRequest, name: str) -> Tensor: ...
