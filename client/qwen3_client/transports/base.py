"""What a client needs of a server: the methods of `Transport`, which gRPC, HTTP and the fake each have in their module.

    Client(transport=FakeTransport())

A transport of your own may answer from anywhere; it raises the errors of `qwen3_client.errors`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..options import Priority

Outputs: TypeAlias = dict[str, NDArray[np.float32]]  # of b texts: [b, k] by the tensor's name


class Transport(Protocol):
    """Carries requests to one server, for one event loop. Cancelling a call gives it up on the server too."""

    async def infer(
        self,
        model: str,
        input_ids: NDArray[np.int64],
        *,
        outputs: Sequence[str],
        priority: Priority,
        timeout_s: float,
    ) -> Outputs:
        """Send texts of equal length and returns what the model made of them.

        Args:
            model: name of the model.
            input_ids: int64 `[b, n]`.
            outputs: names of the tensors that are wanted.
            priority: whether it goes before others in Triton's queue, if that has levels.
            timeout_s: seconds to wait for the answer.

        Returns:
            The wanted tensors, as the server sent them.

        Raises:
            Qwen3ClientError: the error that `failures.error_for` makes of the failure.
        """
        ...

    async def models(self, *, timeout_s: float) -> list[str]:
        """Return the names of the models that are READY, of every kind, sorted."""
        ...

    async def model_config(self, model: str, *, timeout_s: float) -> dict[str, Any]:
        """Return the model's config as JSON, with the names of Triton's `model_config.proto`."""
        ...

    async def is_ready(self, model: str, *, timeout_s: float) -> bool:
        """Return whether the server would take a request for the model."""
        ...

    async def index(self, *, timeout_s: float) -> list[dict[str, Any]]:
        """Return what Triton's repository index says about each version of each model.

        Keys are `name`, and of a model that was ever loaded `version`, `state` and, where that is not READY, `reason`.
        """
        ...

    async def server_version(self, *, timeout_s: float) -> str:
        """Return the version of Triton."""
        ...

    async def is_server_ready(self, *, timeout_s: float) -> bool:
        """Return whether Triton calls itself ready: every model that it was told to load is."""
        ...

    async def load(self, model: str, *, timeout_s: float) -> None:
        """Has the server load what the model's directory holds now, and returns when that is READY."""
        ...

    async def close(self) -> None:
        """Close all connections; a request that is on its way fails at once."""
        ...


def ready_models(index: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of the READY models of Triton's repository index, which lists each version, sorted."""
    return sorted({str(entry["name"]) for entry in index if "name" in entry and entry.get("state") == "READY"})


def ready_versions(index: Iterable[Mapping[str, Any]], model: str) -> list[int]:
    """Return the READY versions of a model in Triton's repository index, ascending."""
    return sorted(
        int(entry["version"]) for entry in index if entry.get("name") == model and entry.get("state") == "READY"
    )
