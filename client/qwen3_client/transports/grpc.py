"""The transport over gRPC, with one channel for all requests.

This is the only module of the package that imports tritonclient. It knows nothing about retries.
"""

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferenceServerException, InferInput, InferRequestedOutput
from tritonclient.grpc.aio import InferenceServerClient

from ..address import Address
from ..contract import INPUT_NAME, INPUT_TYPE
from ..options import PRIORITY_LEVELS, ClientOptions, Priority, Tls
from .base import Outputs, ready_models
from .failures import error_for, misfit

_CHANNEL_OPTIONS: list[tuple[str, int | str]] = [
    ("grpc.max_send_message_length", -1),  # no limit; the default is 4 MiB
    ("grpc.max_receive_message_length", -1),
    # A server that has been restarted is found at once; by default, gRPC's backoff begins at one second and grows to
    # two minutes, and until the next attempt, every request fails.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
    # Despite its name, the time within which a connection must be made; by default, a machine that is down counts as
    # such after 20 seconds.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    # A server that came back with another address is found as soon as the connection to the old one is lost.
    ("grpc.dns_min_time_between_resolutions_ms", 2_000),
    # The clients of one process must not share a connection: a failure would affect all of them.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),  # proxy settings in the environment are meant for the Internet, not for this server
]


class GrpcTransport:
    """A `Transport` over gRPC.

    Args:
        options: how to reach the server.
        address: the server, one of those that the options name.
    """

    def __init__(self, options: ClientOptions, address: Address) -> None:
        self._address = address
        self._headers = options.request_headers()
        tls = (options.tls or Tls()) if self._address.is_secure else None
        if tls is not None:
            tls.context()  # gRPC itself would report an unusable file as an unavailable server
        self._client = InferenceServerClient(
            self._address.host_and_port,
            ssl=tls is not None,
            root_certificates=None if tls is None else tls.ca,
            private_key=None if tls is None else tls.key,
            certificate_chain=None if tls is None else tls.certificate,
            channel_args=[*_CHANNEL_OPTIONS, *_name_options(address)],
        )

    async def infer(
        self,
        model: str,
        input_ids: NDArray[np.int64],
        *,
        outputs: Sequence[str],
        priority: Priority,
        timeout_s: float,
    ) -> Outputs:
        """See `Transport.infer`."""
        tensor = InferInput(INPUT_NAME, list(input_ids.shape), INPUT_TYPE)
        tensor.set_data_from_numpy(input_ids)
        wanted = [InferRequestedOutput(name) for name in outputs]
        try:
            result = await self._client.infer(
                model,
                [tensor],
                outputs=wanted,
                priority=PRIORITY_LEVELS[priority],
                headers=self._headers,
                client_timeout=timeout_s,
            )
        except InferenceServerException as error:
            self._fail(error, timeout_s=timeout_s)
        tensors: Outputs = {}
        for name in outputs:
            try:
                output = result.as_numpy(name)
            except ValueError as error:  # the number of bytes does not match the shape
                raise misfit(f"{name}: {error}", model=model, address=self._address) from error
            if output is None:
                raise misfit(f"it has no {name}", model=model, address=self._address)
            tensors[name] = output
        return tensors

    async def models(self, *, timeout_s: float) -> list[str]:
        """See `Transport.models`."""
        return ready_models(await self.index(timeout_s=timeout_s))

    async def model_config(self, model: str, *, timeout_s: float) -> dict[str, Any]:
        """See `Transport.model_config`."""
        try:
            answer = await self._client.get_model_config(
                model, headers=self._headers, as_json=True, client_timeout=timeout_s
            )
        except InferenceServerException as error:
            self._fail(error, timeout_s=timeout_s)
        config: dict[str, Any] = answer.get("config", {})
        return config

    async def is_ready(self, model: str, *, timeout_s: float) -> bool:
        """See `Transport.is_ready`."""
        try:
            return bool(await self._client.is_model_ready(model, headers=self._headers, client_timeout=timeout_s))
        except InferenceServerException as error:
            self._fail(error, timeout_s=timeout_s)

    async def server_version(self, *, timeout_s: float) -> str:
        """See `Transport.server_version`."""
        try:
            about = await self._client.get_server_metadata(
                headers=self._headers, as_json=True, client_timeout=timeout_s
            )
        except InferenceServerException as error:
            self._fail(error, timeout_s=timeout_s)
        return str(about.get("version", "?"))

    async def is_server_ready(self, *, timeout_s: float) -> bool:
        """See `Transport.is_server_ready`."""
        try:
            return bool(await self._client.is_server_ready(headers=self._headers, client_timeout=timeout_s))
        except InferenceServerException as error:
            self._fail(error, timeout_s=timeout_s)

    async def index(self, *, timeout_s: float) -> list[dict[str, Any]]:
        """See `Transport.index`."""
        try:
            index = await self._client.get_model_repository_index(
                headers=self._headers, as_json=True, client_timeout=timeout_s
            )
        except InferenceServerException as error:
            self._fail(error, timeout_s=timeout_s)
        models: list[dict[str, Any]] = index.get("models", [])
        return models

    async def load(self, model: str, *, timeout_s: float) -> None:
        """See `Transport.load`."""
        try:
            await self._client.load_model(model, headers=self._headers, client_timeout=timeout_s)
        except InferenceServerException as error:
            self._fail(error, timeout_s=timeout_s)

    async def close(self) -> None:
        """See `Transport.close`."""
        await self._client.close()

    def _fail(self, error: InferenceServerException, *, timeout_s: float) -> NoReturn:
        # tritonclient writes the code as "StatusCode.UNAVAILABLE".
        code = str(error.status()).removeprefix("StatusCode.")
        raise error_for(code, str(error.message() or ""), address=self._address, timeout_s=timeout_s) from error


def _name_options(address: Address) -> list[tuple[str, str]]:
    """Return the channel options with which a server is reached by an address and asked by its name."""
    if address.name is None:
        return []
    authority = ("grpc.default_authority", f"{address.name}:{address.port}")
    return [authority, ("grpc.ssl_target_name_override", address.name)] if address.is_secure else [authority]
