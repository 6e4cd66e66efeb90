"""The packed model of a text model: what its directory says about it, and requests to it inside Triton.

It is a transport of the client: what the client would send to a server goes to the model beside this one, in the same
Triton (BLS). Its scheduler batches it with the requests of everybody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils
from google.protobuf.json_format import MessageToDict
from qwen3_client import InferenceError, InvalidInputError, Priority, ServerOverloadedError, ServerUnavailableError
from qwen3_export import ExportError
from qwen3_export.model_directory.triton_config import read_config
from qwen3_export.triton_tensors import as_array, as_tensor

# The parameters that decide which ids a text has and what vectors look like. With other values of any of them, what was
# loaded is stale.
_DECIDE = (
    "tokenizer_sha256",
    "max_tokens",
    "vocabulary",
    "eos_token_id",
    "dimensions",
    "mrl_dimensions",
    "default_instruction",
    "query_prompt",
    "document_prompt",
    "prompt_template",
)


class PackedModel:
    """A packed model in the same Triton.

    Args:
        name: Its name.
        config: Its configuration file.
        directory: Its model directory, which holds its tokenizer.
        concurrency: Most requests to it at once.
    """

    def __init__(self, name: str, *, config: Path, directory: Path, concurrency: int) -> None:
        self.name = name
        self.directory = directory
        self._file = config
        self._stamp = self._stamp_now()
        self.config: dict[str, Any] = self._read()
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="packed-model")

    def is_stale(self) -> bool:
        """Whether another model has been exported to the directory, so that what was loaded no longer fits it.

        While the directory is being replaced, the model in Triton is still the one that was loaded.
        """
        try:
            stamp = self._stamp_now()
            if stamp == self._stamp:
                return False
            if _facts(self._read()) != _facts(self.config):
                return True
        except (OSError, ExportError):
            return False
        self._stamp = stamp
        return False

    async def infer(
        self,
        model: str,
        input_ids: npt.NDArray[np.int64],
        *,
        outputs: Sequence[str],
        priority: Priority,  # noqa: ARG002 - Triton 2.51 takes none from a model; the client's window observes it
        timeout_s: float,  # noqa: ARG002 - the caller's own time-out is Triton's business
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Have the packed model run texts of equal length. See `Transport.infer`."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, _infer, model, input_ids, outputs)

    async def model_config(self, model: str, *, timeout_s: float) -> dict[str, Any]:  # noqa: ARG002
        """See `Transport.model_config`."""
        return self.config

    async def models(self, *, timeout_s: float) -> list[str]:  # noqa: ARG002
        """See `Transport.models`."""
        return [self.name]

    async def is_ready(self, model: str, *, timeout_s: float) -> bool:  # noqa: ARG002
        """See `Transport.is_ready`."""
        return model == self.name

    async def index(self, *, timeout_s: float) -> list[dict[str, Any]]:  # noqa: ARG002
        """See `Transport.index`."""
        return [{"name": self.name, "version": "1", "state": "READY"}]

    async def server_version(self, *, timeout_s: float) -> str:
        """Not asked by the client."""
        raise NotImplementedError

    async def is_server_ready(self, *, timeout_s: float) -> bool:
        """Not asked by the client."""
        raise NotImplementedError

    async def load(self, model: str, *, timeout_s: float) -> None:
        """Not asked by the client."""
        raise NotImplementedError

    async def close(self) -> None:
        """See `Transport.close`."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _stamp_now(self) -> tuple[tuple[int, int, int], ...]:
        found = [path.stat() for path in (self._file, self.directory / "tokenizer.json")]
        return tuple((stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in found)

    def _read(self) -> dict[str, Any]:
        config: dict[str, Any] = MessageToDict(read_config(self._file), preserving_proto_field_name=True)
        return {**config, "name": self.name}


def _facts(config: dict[str, Any]) -> list[Any]:
    parameters = config.get("parameters", {})
    return [parameters.get(name) for name in _DECIDE]


def _infer(model: str, input_ids: npt.NDArray[np.int64], outputs: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
    request = pb_utils.InferenceRequest(
        model_name=model,
        requested_output_names=list(outputs),
        inputs=[as_tensor("input_ids", input_ids)],
        preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU),
    )
    try:
        response = request.exec()
    except pb_utils.TritonModelException as error:
        raise ServerUnavailableError(f"the model {model!r} cannot be asked ({error}); is it loaded?") from None
    if response.has_error():
        raise _error_for(model, response.error())
    tensors = {name: pb_utils.get_output_tensor_by_name(response, name) for name in outputs}
    return {name: as_array(tensor).copy() for name, tensor in tensors.items()}


def _error_for(model: str, error: pb_utils.TritonError) -> Exception:
    said, code = error.message(), error.code()
    if code == pb_utils.TritonError.UNAVAILABLE:
        return ServerOverloadedError(f"the model {model!r} takes no more requests now ({said}); try again later")
    if code == pb_utils.TritonError.INVALID_ARG:
        return InvalidInputError(f"the model {model!r} refused the request: {said}")
    return InferenceError(f"the model {model!r} failed on this request ({said}); see the server's log")
