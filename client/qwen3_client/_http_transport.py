"""HTTP: the KServe v2 protocol with Triton's binary tensors, over connections that threads share.

Built on the standard library. tritonclient's HTTP client is built on gevent: it belongs to the thread that
made it and leaves three open files behind for each thread that ends, so a pool of threads should not use it.
What travels is a small JSON header and raw bytes:
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import json
import math
import socket
import threading
import time
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, TypeVar
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from ._address import Address
from ._contract import INPUT_NAME, INPUT_TYPE, OUTPUT_TYPE
from ._errors import ContractMismatchError, Qwen3ClientError
from ._transport import Outputs, error_for, grpc_code, ready_models

__all__ = ["HttpTransport"]

_HEADER_LENGTH = "Inference-Header-Content-Length"  # bytes of JSON before the raw tensors

_Json = TypeVar("_Json", dict[str, Any], list[dict[str, Any]])


class HttpTransport:
    """A `Transport` over HTTP. Keeps as many connections as there were requests at once."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._idle: list[HTTPConnection] = []
        self._busy: set[HTTPConnection] = set()
        self._closed = False

    def infer(self, model: str, input_ids: NDArray[np.int64], *, outputs: Sequence[str], timeout_s: float) -> Outputs:
        """See `Transport.infer`."""
        header, body = encode_request(input_ids, outputs=outputs)
        response, payload = self._exchange(
            "POST",
            f"/v2/models/{quote(model, safe='')}/infer",
            body=header + body,
            headers={_HEADER_LENGTH: str(len(header)), "Content-Type": "application/octet-stream"},
            timeout_s=timeout_s,
        )
        if response.status != 200:
            raise self._refusal(response, payload, timeout_s=timeout_s)
        return decode_response(payload, outputs=outputs, header_length=response.getheader(_HEADER_LENGTH))

    def models(self, *, timeout_s: float) -> list[str]:
        """See `Transport.models`."""
        index = self._json("POST", "/v2/repository/index", list, timeout_s=timeout_s)
        return ready_models(entry for entry in index if isinstance(entry, dict))

    def model_config(self, model: str, *, timeout_s: float) -> dict[str, Any]:
        """See `Transport.model_config`."""
        return self._json("GET", f"/v2/models/{quote(model, safe='')}/config", dict, timeout_s=timeout_s)

    def is_ready(self, model: str, *, timeout_s: float) -> bool:
        """See `Transport.is_ready`."""
        path = f"/v2/models/{quote(model, safe='')}/ready"
        return self._exchange("GET", path, timeout_s=timeout_s)[0].status == 200

    def close(self) -> None:
        """See `Transport.close`."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            for connection in self._busy:
                # Wakes the thread that reads from it; that thread closes it.
                if (sock := connection.sock) is not None:
                    try:
                        sock.shutdown(socket.SHUT_RDWR)
                    except OSError:  # already gone
                        continue
        for connection in idle:
            connection.close()

    def _json(self, method: str, path: str, kind: type[_Json], *, timeout_s: float) -> _Json:
        """Sends a request without a body and returns the answer, which must be JSON of one kind."""
        response, payload = self._exchange(method, path, timeout_s=timeout_s)
        if response.status != 200:
            raise self._refusal(response, payload, timeout_s=timeout_s)
        try:
            answer = json.loads(payload)
        except ValueError:
            answer = None
        if not isinstance(answer, kind):
            raise ContractMismatchError(f"{self._address} does not answer like a Triton server; correct the URL")
        return answer

    def _exchange(
        self,
        method: str,
        path: str,
        *,
        timeout_s: float,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[HTTPResponse, bytes]:
        """Sends a request and reads the whole answer, whatever its status."""
        deadline = time.monotonic() + timeout_s
        while True:
            connection, is_reused = self._borrow()
            is_good = False
            try:
                # http.client applies the time-out to each wait on the socket: connect, send, receive.
                connection.timeout = max(deadline - time.monotonic(), 0.001)
                if connection.sock is not None:
                    connection.sock.settimeout(connection.timeout)
                connection.request(method, path, body=body, headers=headers or {})
                response = connection.getresponse()
                payload = response.read()
                is_good = not response.will_close
            except (ConnectionResetError, BrokenPipeError) as error:
                # The server may close an idle connection at any time; only a new one tells whether it is
                # there. Sending again is safe: inference changes nothing.
                if is_reused and not self._closed:
                    continue
                raise self._failure(error, timeout_s=timeout_s) from error
            except (OSError, HTTPException) as error:
                raise self._failure(error, timeout_s=timeout_s) from error
            else:
                return response, payload
            finally:
                self._give_back(connection, is_good=is_good)

    def _borrow(self) -> tuple[HTTPConnection, bool]:
        with self._lock:
            is_reused = bool(self._idle)
            connection = self._idle.pop() if is_reused else HTTPConnection(self._address.host, self._address.port)
            self._busy.add(connection)
        return connection, is_reused

    def _give_back(self, connection: HTTPConnection, *, is_good: bool) -> None:
        with self._lock:
            self._busy.discard(connection)
            if is_good and not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _failure(self, error: OSError | HTTPException, *, timeout_s: float) -> Qwen3ClientError:
        """The error for a connection that failed; an answer that is not HTTP counts as no server."""
        if isinstance(error, OSError):
            code, said = grpc_code(error), str(error) or type(error).__name__
        else:  # the text of an HTTPException may be the peer's raw bytes
            code, said = "UNAVAILABLE", f"the answer is not HTTP: {type(error).__name__}"
        return error_for(code, said, address=self._address, timeout_s=timeout_s)

    def _refusal(self, response: HTTPResponse, payload: bytes, *, timeout_s: float) -> Qwen3ClientError:
        """The error for a status other than 200. Triton's reason is JSON, a proxy's may be anything."""
        try:
            said = str(json.loads(payload)["error"])
        except (ValueError, KeyError, TypeError):
            said = payload[:200].decode(errors="replace")
        return error_for(
            grpc_code(response.status),
            f"{said} [HTTP {response.status}]",
            address=self._address,
            timeout_s=timeout_s,
        )


def encode_request(input_ids: NDArray[np.int64], *, outputs: Sequence[str]) -> tuple[bytes, bytes]:
    """Returns the JSON header and the raw tensor (little-endian) of a request for `[1, n]` token ids."""
    tensor = input_ids.astype("<i8", copy=False).tobytes()
    header = {
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
    """Returns the float32 tensors of an answer, by name.

    Raises:
        ContractMismatchError: it does not hold exactly those that were asked for.
    """
    tensors: Outputs = {}
    try:
        end = int(header_length or "")
        for output in json.loads(payload[:end])["outputs"]:
            name, shape = output["name"], output["shape"]
            if name not in outputs or name in tensors or output["datatype"] != OUTPUT_TYPE:
                raise ValueError(f"it holds {name} {output['datatype']}")
            start, end = end, end + 4 * math.prod(shape)  # the raw tensors follow one another
            tensors[name] = np.frombuffer(payload[start:end], dtype="<f4").reshape(shape)
        if len(tensors) != len(outputs) or end != len(payload):
            raise ValueError(f"it holds {len(tensors)} tensors that end at byte {end} of {len(payload)}")
    except (ValueError, KeyError, TypeError) as error:
        wanted = ", ".join(f"{name} {OUTPUT_TYPE}" for name in outputs)
        raise ContractMismatchError(
            f"the server's answer is not [{wanted}] as raw bytes ({error}); does a proxy change it?"
        ) from error
    return tensors
