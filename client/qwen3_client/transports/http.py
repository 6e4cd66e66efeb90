"""The transport over HTTP, with the KServe v2 protocol and Triton's binary tensors.

A request or answer is a small JSON header followed by the raw bytes of the tensors:
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md

This module knows nothing about retries.
"""

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from http.client import OK
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

import aiohttp
import numpy as np
from numpy.typing import NDArray

from ..address import Address
from ..contract import FINGERPRINT_TYPE, INPUT_NAME, INPUT_TYPE, OUTPUT_TYPE
from ..errors import ConnectionLostError, ContractMismatchError, Qwen3ClientError
from ..fingerprint import OUTPUT_NAME as FINGERPRINT_NAME
from ..options import PRIORITY_LEVELS, ClientOptions, Priority, Tls
from .base import Outputs, ready_models
from .failures import error_for, grpc_code, misfit

_HEADER_LENGTH = "Inference-Header-Content-Length"  # number of bytes of JSON before the raw tensors

_CONNECT_S = 5.0  # seconds after which a machine that does not answer counts as down

_DTYPES = {OUTPUT_TYPE: "<f4", FINGERPRINT_TYPE: "<i8"}

_Json = TypeVar("_Json", dict[str, Any], list[dict[str, Any]])


class _Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpTransport:
    """A `Transport` over HTTP. It keeps open as many connections as there have been requests at the same time.

    Args:
        options: how to reach the server.
        address: the server, one of those that the options name.
    """

    def __init__(self, options: ClientOptions, address: Address) -> None:
        self._address = address
        host = {} if address.name is None else {"Host": f"{address.name}:{address.port}"}
        tls = options.tls or Tls()
        # By default, aiohttp ignores proxy settings in the environment, which are meant for the Internet.
        self._session = aiohttp.ClientSession(
            str(self._address),
            # Triton would compress vectors otherwise, which takes ten times as long as all else and saves no bytes.
            headers={"Accept-Encoding": "identity", **host, **options.request_headers()},
            connector=aiohttp.TCPConnector(limit=0, ssl=tls.context() if self._address.is_secure else True),
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
        header, body = encode_request(input_ids, outputs=outputs, priority=priority)
        answer = await self._exchange(
            "POST",
            f"/v2/models/{quote(model, safe='')}/infer",
            body=header + body,
            headers={_HEADER_LENGTH: str(len(header)), "Content-Type": "application/octet-stream"},
            timeout_s=timeout_s,
        )
        if answer.status != OK:
            raise self._refusal(answer, timeout_s=timeout_s, model=model)
        try:
            return decode_response(answer.body, outputs=outputs, header_length=answer.headers.get(_HEADER_LENGTH))
        except ContractMismatchError as error:
            raise misfit(str(error), model=model, address=self._address) from error

    async def models(self, *, timeout_s: float) -> list[str]:
        """See `Transport.models`."""
        return ready_models(await self.index(timeout_s=timeout_s))

    async def model_config(self, model: str, *, timeout_s: float) -> dict[str, Any]:
        """See `Transport.model_config`."""
        return await self._json("GET", f"/v2/models/{quote(model, safe='')}/config", dict, timeout_s=timeout_s)

    async def is_ready(self, model: str, *, timeout_s: float) -> bool:
        """See `Transport.is_ready`."""
        path = f"/v2/models/{quote(model, safe='')}/ready"
        return (await self._exchange("GET", path, timeout_s=timeout_s)).status == OK

    async def server_version(self, *, timeout_s: float) -> str:
        """See `Transport.server_version`."""
        return str((await self._json("GET", "/v2", dict, timeout_s=timeout_s)).get("version", "?"))

    async def is_server_ready(self, *, timeout_s: float) -> bool:
        """See `Transport.is_server_ready`."""
        return (await self._exchange("GET", "/v2/health/ready", timeout_s=timeout_s)).status == OK

    async def index(self, *, timeout_s: float) -> list[dict[str, Any]]:
        """See `Transport.index`."""
        index = await self._json("POST", "/v2/repository/index", list, timeout_s=timeout_s)
        return [entry for entry in index if isinstance(entry, dict)]

    async def load(self, model: str, *, timeout_s: float) -> None:
        """See `Transport.load`."""
        path = f"/v2/repository/models/{quote(model, safe='')}/load"
        answer = await self._exchange("POST", path, timeout_s=timeout_s)
        if answer.status != OK:
            raise self._refusal(answer, timeout_s=timeout_s)

    async def close(self) -> None:
        """See `Transport.close`."""
        await self._session.close()

    async def _json(self, method: str, path: str, kind: type[_Json], *, timeout_s: float) -> _Json:
        """Send a request without a body, and return the JSON of the answer, which must be of type `kind`."""
        answer = await self._exchange(method, path, timeout_s=timeout_s)
        if answer.status != OK:
            raise self._refusal(answer, timeout_s=timeout_s)
        try:
            said = json.loads(answer.body)
        except ValueError:
            said = None
        if not isinstance(said, kind):
            raise ContractMismatchError(f"{self._address} does not answer like a Triton server; correct the URL")
        return said

    async def _exchange(
        self,
        method: str,
        path: str,
        *,
        timeout_s: float,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> _Answer:
        """Send a request, and return the whole answer, whatever its status is."""
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=_CONNECT_S)
        try:
            async with self._session.request(
                method,
                path,
                data=body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
                server_hostname=self._address.name,
            ) as response:
                return _Answer(response.status, response.headers, await response.read())
        except aiohttp.ServerTimeoutError as error:  # of connecting; the total raises asyncio.TimeoutError alone
            said = f"no connection within {_CONNECT_S:g} s"
            raise error_for("UNAVAILABLE", said, address=self._address, timeout_s=timeout_s) from error
        except asyncio.TimeoutError as error:
            raise error_for("DEADLINE_EXCEEDED", "", address=self._address, timeout_s=timeout_s) from error
        except (aiohttp.ServerDisconnectedError, ConnectionResetError, BrokenPipeError) as error:
            said = "the connection was closed"
            lost = error_for("UNAVAILABLE", said, address=self._address, timeout_s=timeout_s)
            raise ConnectionLostError(str(lost)) from error
        except aiohttp.ClientResponseError as error:  # its message may hold raw bytes of the answer
            said = "the answer is not HTTP"
            raise error_for("UNAVAILABLE", said, address=self._address, timeout_s=timeout_s) from error
        except (aiohttp.ClientError, OSError) as error:
            said = str(error) or type(error).__name__
            raise error_for("UNAVAILABLE", said, address=self._address, timeout_s=timeout_s) from error

    def _refusal(self, answer: _Answer, *, timeout_s: float, model: str | None = None) -> Qwen3ClientError:
        """Return the error for a status other than 200. Triton gives the reason as JSON, a proxy in any form."""
        try:
            said = str(json.loads(answer.body)["error"])
        except (ValueError, KeyError, TypeError):
            said = answer.body[:200].decode(errors="replace")
        return error_for(
            grpc_code(answer.status),
            f"{said} [HTTP {answer.status}]",
            address=self._address,
            timeout_s=timeout_s,
            model=model,
        )


def encode_request(input_ids: NDArray[np.int64], *, outputs: Sequence[str], priority: Priority) -> tuple[bytes, bytes]:
    """Return the JSON header and the raw little-endian tensor of a request for token ids, int64 `[b, n]`."""
    tensor = input_ids.astype("<i8", copy=False).tobytes()
    header = {
        "parameters": {"priority": PRIORITY_LEVELS[priority]},
        "inputs": [
            {
                "name": INPUT_NAME,
                "datatype": INPUT_TYPE,
                "shape": list(input_ids.shape),
                "parameters": {"binary_data_size": len(tensor)},
            }
        ],
        "outputs": [{"name": name, "parameters": {"binary_data": True}} for name in outputs],
    }
    return json.dumps(header).encode(), tensor


def decode_response(payload: bytes, *, outputs: Sequence[str], header_length: str | None) -> Outputs:
    """Return the tensors of an answer by name: float32 `[b, k]`, and int64 for the fingerprint.

    Raises:
        ContractMismatchError: the answer does not hold exactly the tensors in `outputs`.
    """
    tensors: Outputs = {}
    try:
        end = int(header_length or "")
        for output in json.loads(payload[:end])["outputs"]:
            name, shape = output["name"], output["shape"]
            if name not in outputs or name in tensors or output["datatype"] != _type_of(name):
                raise ValueError(f"it holds {name} {output['datatype']}")
            dtype = np.dtype(_DTYPES[_type_of(name)])
            start, end = end, end + dtype.itemsize * math.prod(shape)  # the raw tensors follow one another
            tensors[name] = np.frombuffer(payload[start:end], dtype=dtype).reshape(shape)
        if len(tensors) != len(outputs) or end != len(payload):
            raise ValueError(f"it holds {len(tensors)} tensors that end at byte {end} of {len(payload)}")
    except (ValueError, KeyError, TypeError) as error:
        wanted = ", ".join(f"{name} {_type_of(name)}" for name in outputs)
        raise ContractMismatchError(
            f"the server's answer is not [{wanted}] as raw bytes ({error}); check whether a proxy changes answers"
        ) from error
    return tensors


def _type_of(output: str) -> str:
    return FINGERPRINT_TYPE if output == FINGERPRINT_NAME else OUTPUT_TYPE
