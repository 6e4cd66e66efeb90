"""The transport over gRPC, with one channel for all requests of a loop, and one for those that wait in their thread.

It uses the messages and the stub that tritonclient generates from Triton's protocol: its `InferenceServerClient`, which
is a layer over them, takes a tenth of a millisecond more for a request. This is the only module of the package that
imports tritonclient. It knows nothing about retries.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from numpy.typing import NDArray
from tritonclient.grpc.service_pb2 import (
    ModelConfigRequest,
    ModelInferRequest,
    ModelInferResponse,
    ModelReadyRequest,
    RepositoryIndexRequest,
    RepositoryModelLoadRequest,
    ServerMetadataRequest,
    ServerReadyRequest,
)
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub
from tritonclient.utils import triton_to_np_dtype

from ..address import Address
from ..contract import INPUT_NAME, INPUT_TYPE
from ..errors import Qwen3ClientError
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
        self._metadata = tuple(options.request_headers().items())
        self._credentials = _credentials(options.tls or Tls()) if address.is_secure else None
        self._channel = self._open(grpc.aio)
        self._stub = GRPCInferenceServiceStub(self._channel)
        # For requests that wait in their thread: a channel of their own, opened by the first.
        self._lock = threading.Lock()
        self._is_closed = False
        self._blocking_channel: grpc.Channel | None = None
        self._infer: Callable[..., ModelInferResponse] | None = None

    def _open(self, kind: Any) -> Any:  # noqa: ANN401 - grpc or grpc.aio
        target, options = self._address.host_and_port, [*_CHANNEL_OPTIONS, *_name_options(self._address)]
        if self._credentials is None:
            return kind.insecure_channel(target, options=options)
        return kind.secure_channel(target, self._credentials, options=options)

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
        request = _infer_request(model, input_ids, outputs=outputs, priority=priority)
        response = await self._answer(self._stub.ModelInfer, request, timeout_s=timeout_s)
        return self._tensors(response, model=model, outputs=outputs)

    def infer_at_once(
        self,
        model: str,
        input_ids: NDArray[np.int64],
        *,
        outputs: Sequence[str],
        priority: Priority,
        timeout_s: float,
    ) -> Outputs:
        """Do what `infer` does, and wait for the answer in this thread, which may be any.

        A coroutine's answer wakes up three threads in turn: gRPC's, the loop's and the caller's. This wakes up one.
        """
        request = _infer_request(model, input_ids, outputs=outputs, priority=priority)
        try:
            response = self._blocking_infer()(request, timeout=timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self._error(error, timeout_s=timeout_s) from error
        except ValueError as error:  # the channel has been closed
            raise error_for("CANCELLED", str(error), address=self._address, timeout_s=timeout_s) from error
        return self._tensors(response, model=model, outputs=outputs)

    def _blocking_infer(self) -> Callable[..., ModelInferResponse]:
        if self._infer is None:
            channel = self._open(grpc)
            with self._lock:  # briefly: a signal handler of this thread may wait for `close`
                is_spare = self._is_closed or self._blocking_channel is not None
                if not is_spare:
                    self._blocking_channel = channel
                    self._infer = GRPCInferenceServiceStub(channel).ModelInfer
            if is_spare:
                channel.close()
        if self._infer is None:
            raise ValueError("the connection is closed")
        return self._infer

    async def models(self, *, timeout_s: float) -> list[str]:
        """See `Transport.models`."""
        return ready_models(await self.index(timeout_s=timeout_s))

    async def model_config(self, model: str, *, timeout_s: float) -> dict[str, Any]:
        """See `Transport.model_config`."""
        request = ModelConfigRequest(name=model)
        answer = await self._answer(self._stub.ModelConfig, request, timeout_s=timeout_s)
        return _as_json(answer.config)

    async def is_ready(self, model: str, *, timeout_s: float) -> bool:
        """See `Transport.is_ready`."""
        request = ModelReadyRequest(name=model)
        return bool((await self._answer(self._stub.ModelReady, request, timeout_s=timeout_s)).ready)

    async def server_version(self, *, timeout_s: float) -> str:
        """See `Transport.server_version`."""
        about = await self._answer(self._stub.ServerMetadata, ServerMetadataRequest(), timeout_s=timeout_s)
        return about.version or "?"

    async def is_server_ready(self, *, timeout_s: float) -> bool:
        """See `Transport.is_server_ready`."""
        return bool((await self._answer(self._stub.ServerReady, ServerReadyRequest(), timeout_s=timeout_s)).ready)

    async def index(self, *, timeout_s: float) -> list[dict[str, Any]]:
        """See `Transport.index`."""
        answer = await self._answer(self._stub.RepositoryIndex, RepositoryIndexRequest(), timeout_s=timeout_s)
        return [_as_json(model) for model in answer.models]

    async def load(self, model: str, *, timeout_s: float) -> None:
        """See `Transport.load`."""
        request = RepositoryModelLoadRequest(model_name=model)
        await self._answer(self._stub.RepositoryModelLoad, request, timeout_s=timeout_s)

    async def close(self) -> None:
        """See `Transport.close`."""
        with self._lock:
            self._is_closed, channel = True, self._blocking_channel
        if channel is not None:
            channel.close()
        await self._channel.close()

    async def _answer(self, method: Callable[..., Any], request: Message, *, timeout_s: float) -> Any:  # noqa: ANN401
        """Return the answer to a request: the message that belongs to the method."""
        try:
            return await method(request, timeout=timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self._error(error, timeout_s=timeout_s) from error

    def _error(self, error: grpc.RpcError, *, timeout_s: float) -> Qwen3ClientError:
        code, said = error.code().name, error.details() or ""
        return error_for(code, said, address=self._address, timeout_s=timeout_s)

    def _tensors(self, response: ModelInferResponse, *, model: str, outputs: Sequence[str]) -> Outputs:
        try:
            tensors = _decoded(response)
        except ValueError as error:
            raise misfit(str(error), model=model, address=self._address) from error
        if missing := [name for name in outputs if name not in tensors]:
            raise misfit(f"it has no {missing[0]}", model=model, address=self._address)
        return tensors


def _infer_request(
    model: str, input_ids: NDArray[np.int64], *, outputs: Sequence[str], priority: Priority
) -> ModelInferRequest:
    request = ModelInferRequest(model_name=model, raw_input_contents=[input_ids.tobytes()])
    request.inputs.add(name=INPUT_NAME, datatype=INPUT_TYPE, shape=input_ids.shape)
    for name in outputs:
        request.outputs.add(name=name)
    request.parameters["priority"].uint64_param = PRIORITY_LEVELS[priority]
    return request


def _decoded(response: ModelInferResponse) -> Outputs:
    """Return the tensors of an answer by their names.

    Raises:
        ValueError: a tensor is not there, or has not as many bytes as its shape says.
    """
    if len(response.outputs) != len(response.raw_output_contents):
        raise ValueError(f"it has {len(response.raw_output_contents)} of {len(response.outputs)} tensors")
    tensors: Outputs = {}
    for output, content in zip(response.outputs, response.raw_output_contents, strict=True):
        try:
            tensors[output.name] = np.frombuffer(content, triton_to_np_dtype(output.datatype)).reshape(output.shape)
        except ValueError as error:
            raise ValueError(f"{output.name}: {error}") from error
    return tensors


def _as_json(message: Message) -> dict[str, Any]:
    """Return a message as JSON, with the field names of Triton's protocol."""
    return MessageToDict(message, preserving_proto_field_name=True)


def _credentials(tls: Tls) -> grpc.ChannelCredentials:
    tls.context()  # gRPC itself would report an unusable file as an unavailable server
    ca, key, certificate = (
        None if path is None else Path(path).read_bytes() for path in (tls.ca, tls.key, tls.certificate)
    )
    return grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=certificate)


def _name_options(address: Address) -> list[tuple[str, str]]:
    """Return the channel options with which a server is reached by an address and asked by its name."""
    if address.name is None:
        return []
    authority = ("grpc.default_authority", f"{address.name}:{address.port}")
    return [authority, ("grpc.ssl_target_name_override", address.name)] if address.is_secure else [authority]
