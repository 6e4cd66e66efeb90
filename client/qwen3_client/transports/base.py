"""`Transport`, the interface between a client and what carries its requests: gRPC, HTTP, a fake, or one of your own.

    Client(transport=FakeTransport())

A transport of your own may answer from anywhere. It must raise the errors of `qwen3_client.errors`. This module knows
nothing about protocols.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..options import Priority

# For b texts, the tensors [b, k] by name: float32, and int64 for "fingerprint".
Outputs: TypeAlias = dict[str, NDArray[Any]]


class Transport(Protocol):
    """The carrier of requests to one server, for use in one event loop.

    A call that is cancelled should be cancelled on the server too.
    """

    async def infer(
        self,
        model: str,
        input_ids: NDArray[np.int64],
        *,
        outputs: Sequence[str],
        priority: Priority,
        timeout_s: float,
    ) -> Outputs:
        """Send texts of equal length, and return the model's outputs.

        Args:
            model: name of the model.
            input_ids: int64 `[b, n]`.
            outputs: names of the tensors that are wanted.
            priority: which requests go first in Triton's queue, if it has priority levels.
            timeout_s: seconds to wait for the answer.

        Returns:
            The wanted tensors, as the server sent them.

        Raises:
            Qwen3ClientError: the request failed; `failures.error_for` chooses the class.
        """
        ...

    async def models(self, *, timeout_s: float) -> list[str]:
        """Return the names of all models that are READY, sorted."""
        ...

    async def model_config(self, model: str, *, timeout_s: float) -> dict[str, Any]:
        """Return the model's config as JSON, with the field names of Triton's `model_config.proto`."""
        ...

    async def is_ready(self, model: str, *, timeout_s: float) -> bool:
        """Return whether the server accepts requests for the model."""
        ...

    async def index(self, *, timeout_s: float) -> list[dict[str, Any]]:
        """Return Triton's repository index, with an entry for each version of each model.

        An entry has the key `name`; if the model was ever loaded, also `version` and `state`; and if a version is not
        READY, also `reason`.
        """
        ...

    async def server_version(self, *, timeout_s: float) -> str:
        """Return Triton's version."""
        ...

    async def is_server_ready(self, *, timeout_s: float) -> bool:
        """Return whether Triton is ready, which means that every model that it was told to load is ready."""
        ...

    async def load(self, model: str, *, timeout_s: float) -> None:
        """Have the server load the present content of the model's directory, and return when it is READY."""
        ...

    async def close(self) -> None:
        """Close all connections. Requests that are on their way fail at once."""
        ...


@runtime_checkable
class BlockingTransport(Transport, Protocol):
    """A `Transport` that can also be waited for without an event loop, as calls of `Client` with one text do."""

    def infer_at_once(
        self,
        model: str,
        input_ids: NDArray[np.int64],
        *,
        outputs: Sequence[str],
        priority: Priority,
        timeout_s: float,
    ) -> Outputs:
        """Do what `infer` does, and wait for the answer in this thread, which may be any. `close` ends the wait."""
        ...


def ready_models(index: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of the READY models in Triton's repository index, sorted and each once."""
    return sorted({str(entry["name"]) for entry in index if "name" in entry and entry.get("state") == "READY"})


def ready_versions(index: Iterable[Mapping[str, Any]], model: str) -> list[int]:
    """Return the READY versions of a model in Triton's repository index, ascending."""
    return sorted(
        int(entry["version"]) for entry in index if entry.get("name") == model and entry.get("state") == "READY"
    )
