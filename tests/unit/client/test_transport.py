"""What a protocol's failures mean, and peers that are no Triton: closed, silent, talking nonsense."""

import contextlib
import importlib
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from http import HTTPStatus
from typing import Any

import numpy as np
import pytest
from qwen3_client import (
    Client,
    ClientOptions,
    ContractMismatchError,
    InferenceError,
    InvalidInputError,
    Qwen3ClientError,
    RefusedError,
    ServerOverloadedError,
    ServerTimeoutError,
    ServerUnavailableError,
)
from qwen3_client.address import parse_address
from qwen3_client.errors import ConnectionLostError, UnknownModelError
from qwen3_client.io_thread import submit
from qwen3_client.session import Session, connect
from qwen3_client.transports.base import Transport, ready_models, ready_versions
from qwen3_client.transports.failures import error_for, grpc_code
from qwen3_client.transports.http import decode_response, encode_request

GRPC_CODES: list[str] = [code.name for code in importlib.import_module("grpc").StatusCode]
EXPECTED: dict[str, type[Qwen3ClientError]] = {
    "UNAVAILABLE": ServerUnavailableError,
    "DEADLINE_EXCEEDED": ServerTimeoutError,
    "INVALID_ARGUMENT": InvalidInputError,
    "NOT_FOUND": UnknownModelError,
    "RESOURCE_EXHAUSTED": ServerOverloadedError,
    "UNAUTHENTICATED": RefusedError,
    "PERMISSION_DENIED": RefusedError,
}
IDS = np.array([[1, 2, 256]], dtype=np.int64)


def error_of(code: str, message: str = "because\n of  this") -> Qwen3ClientError:
    return error_for(code, message, address=parse_address("localhost:8001"), timeout_s=2.5)


@pytest.mark.parametrize("code", GRPC_CODES)
def test_every_grpc_code_has_its_error(code: str) -> None:
    error = error_of(code)
    assert type(error) is EXPECTED.get(code, InferenceError)
    assert "grpc://localhost:8001" in str(error)
    assert "because of this" in str(error) or code == "DEADLINE_EXCEEDED"
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    "message", ["[request id: <id_unknown>] Exceeds maximum queue size", "Request timeout expired"]
)
def test_a_queue_that_refuses_is_overload(message: str) -> None:
    assert type(error_of("UNAVAILABLE", message)) is ServerOverloadedError
    assert type(error_of("INTERNAL", message)) is InferenceError


def test_a_server_that_loads_only_at_its_start_says_how_to_start_it() -> None:
    error = error_of("UNAVAILABLE", "explicit model load / unload is not allowed if polling is enabled")
    assert type(error) is RefusedError
    assert "--model-control-mode=explicit" in str(error)


def test_the_time_out_is_named() -> None:
    assert "within 2.5 s" in str(error_of("DEADLINE_EXCEEDED"))


@pytest.mark.parametrize("status", [status for status in HTTPStatus if status >= 300])
def test_every_http_status_has_its_error(status: HTTPStatus) -> None:
    expected = {
        400: InvalidInputError,
        401: RefusedError,
        403: RefusedError,
        404: UnknownModelError,
        408: ServerTimeoutError,
        429: ServerOverloadedError,
        502: ServerUnavailableError,
        503: ServerUnavailableError,
        504: ServerTimeoutError,
    }
    assert type(error_of(grpc_code(status))) is expected.get(status, InferenceError)


def test_a_host_that_is_started_anew_is_away() -> None:
    said = "Failed to process the request(s), message: Stub process 'm_0_0' is not healthy."
    assert type(error_of("INTERNAL", said)) is ServerUnavailableError


# --- peers -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def peer(serve: Callable[[socket.socket, int], object] | None) -> Iterator[int]:
    """Listens on a free port and gives each connection, and its number, to `serve`; None never answers."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)

        def loop() -> None:
            connections = []
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    connection = listener.accept()[0]
                    connection.settimeout(10)
                    connections.append(connection)
                    if serve is not None:
                        serve(connection, len(connections))
            for connection in connections:
                connection.close()

        thread = threading.Thread(target=loop)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stop.set()
            thread.join()


def ask(url: str, *calls: Callable[[Transport], Coroutine[Any, Any, Any]]) -> list[Any]:
    """Makes a transport, and calls that wait for one another, where the clients make theirs."""

    async def run() -> list[Any]:
        transport = connect(ClientOptions(url))
        try:
            return [await call(transport) for call in calls]
        finally:
            await transport.close()

    return submit(run()).result(60)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_nobody_there_is_unavailable(protocol: str) -> None:
    calls: list[Callable[[Transport], Coroutine[Any, Any, Any]]] = [
        lambda transport: transport.infer("m", IDS, outputs=["embedding"], priority="bulk", timeout_s=20),
        lambda transport: transport.models(timeout_s=20),
        lambda transport: transport.model_config("m", timeout_s=20),
        lambda transport: transport.is_ready("m", timeout_s=20),
    ]
    url = f"{protocol}://127.0.0.1:{free_port()}"
    for call in calls:
        with pytest.raises(ServerUnavailableError, match=r"no Triton answers at .*qwen3-triton serve"):
            ask(url, call)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.skipif(sys.platform != "linux", reason="a full queue drops what comes on Linux only")
def test_a_machine_that_is_down_is_unavailable_before_the_time_is_over(
    protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue of connections that nobody accepts is full, so that the machine answers nothing to another one."""
    monkeypatch.setattr("qwen3_client.transports.http._CONNECT_S", 0.2)
    with contextlib.ExitStack() as stack:
        down = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            queued = stack.enter_context(socket.socket())
            queued.settimeout(0)
            queued.connect_ex(down.getsockname())
        url = f"{protocol}://127.0.0.1:{down.getsockname()[1]}"
        with pytest.raises(ServerUnavailableError, match="no Triton answers at"):
            ask(url, lambda transport: transport.is_server_ready(timeout_s=15.0))


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_silent_peer_times_out(protocol: str) -> None:
    with peer(None) as port:
        started = time.monotonic()
        with pytest.raises(ServerTimeoutError, match=r"within 1 s"):
            ask(
                f"{protocol}://127.0.0.1:{port}",
                lambda t: t.infer("m", IDS, outputs=["embedding"], priority="bulk", timeout_s=1),
            )
        assert time.monotonic() - started < 10


def test_a_peer_that_does_not_speak_http_is_unavailable() -> None:
    with (
        peer(lambda connection, _: connection.sendall(b"\0\0\x18\4 what?\n")) as port,
        pytest.raises(ServerUnavailableError, match="the answer is not HTTP"),
    ):
        ask(
            f"http://127.0.0.1:{port}",
            lambda t: t.infer("m", IDS, outputs=["embedding"], priority="bulk", timeout_s=10),
        )


def reply(body: bytes, *, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def test_a_proxy_s_error_page_is_quoted() -> None:
    def serve(connection: socket.socket, _: int) -> None:
        connection.recv(65536)
        connection.sendall(reply(b"<html>out of order</html>", status="502 Bad Gateway"))

    with (
        peer(serve) as port,
        pytest.raises(ServerUnavailableError, match=r"out of order.*\[HTTP 502\]"),
    ):
        ask(f"http://127.0.0.1:{port}", lambda t: t.model_config("m", timeout_s=10))


@pytest.mark.parametrize("body", [b"hello", b"[]", b""])
def test_what_is_no_config_is_no_triton(body: bytes) -> None:
    def serve(connection: socket.socket, _: int) -> None:
        connection.recv(65536)
        connection.sendall(reply(body))

    with (
        peer(serve) as port,
        pytest.raises(ContractMismatchError, match="does not answer like a Triton server"),
    ):
        ask(f"http://127.0.0.1:{port}", lambda t: t.model_config("m", timeout_s=10))


def test_a_connection_that_the_server_closed_in_between_is_replaced() -> None:
    """By the session, at once and without a retry of its own: the transport only says what happened."""

    def serve(connection: socket.socket, _: int) -> None:
        connection.recv(65536)
        connection.sendall(reply(b"[]"))
        connection.shutdown(socket.SHUT_RDWR)  # and says nothing of it in its answer

    with peer(serve) as port:
        url = f"http://127.0.0.1:{port}"
        with pytest.raises(ConnectionLostError):
            ask(url, *[lambda t: t.models(timeout_s=10)] * 2)
        session = Session(ClientOptions(url, retry_s=0))

        async def run() -> list[list[str]]:
            with session.call():
                return [await session.models() for _ in range(3)]

        assert session.loop.submit(run()).result(60) == [[]] * 3
        closing = session.close_soon()
        assert closing is not None
        closing.result(60)


def test_a_connection_that_is_lost_twice_is_a_server_that_is_away() -> None:
    def serve(connection: socket.socket, _: int) -> None:
        connection.recv(65536)
        connection.shutdown(socket.SHUT_RDWR)

    with peer(serve) as port:
        client = Client(f"http://127.0.0.1:{port}", retry_s=0)
        with client, pytest.raises(ServerUnavailableError, match="the connection was closed"):
            client.info()


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_closing_ends_a_request_that_waits(protocol: str) -> None:
    with peer(None) as port:
        client = Client(f"{protocol}://127.0.0.1:{port}", model="m", timeout_s=60)
        threading.Timer(0.2, client.close).start()
        started = time.monotonic()
        with pytest.raises(Qwen3ClientError, match="this client is closed"):
            client.encode_document("a")
        assert time.monotonic() - started < 30


# --- the repository's index ---------------------------------------------------------------------------------


def test_models_are_those_that_are_ready_each_once() -> None:
    index = [
        {"name": "b", "version": "1", "state": "READY"},
        {"name": "a", "version": "1", "state": "READY"},
        {"name": "a", "version": "2", "state": "READY"},
        {"name": "c", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"},
        {"name": "d"},
        {"version": "1", "state": "READY"},
    ]
    assert ready_models(index) == ["a", "b"]
    assert ready_models([]) == []
    assert ready_versions([*index, {"name": "a", "version": "12", "state": "READY"}], "a") == [1, 2, 12]
    assert ready_versions(index, "c") == []


def test_http_posts_for_the_index() -> None:
    seen = []

    def serve(connection: socket.socket, _: int) -> None:
        seen.append(connection.recv(65536))
        connection.sendall(reply(b'[{"name": "m", "version": "1", "state": "READY"}, 7]'))

    with peer(serve) as port:
        assert ask(f"http://127.0.0.1:{port}", lambda t: t.models(timeout_s=10)) == [["m"]]
    assert seen[0].startswith(b"POST /v2/repository/index HTTP/1.1\r\n")


@pytest.mark.parametrize("body", [b"hello", b"{}", b""])
def test_what_is_no_index_is_no_triton(body: bytes) -> None:
    def serve(connection: socket.socket, _: int) -> None:
        connection.recv(65536)
        connection.sendall(reply(body))

    with (
        peer(serve) as port,
        pytest.raises(ContractMismatchError, match="does not answer like a Triton server"),
    ):
        ask(f"http://127.0.0.1:{port}", lambda t: t.models(timeout_s=10))


# --- the bytes of HTTP -------------------------------------------------------------------------------------


def test_a_request_is_a_json_header_and_raw_little_endian_ids() -> None:
    header, tensor = encode_request(IDS, outputs=("score", "logit"), priority="interactive")
    assert json.loads(header) == {
        "parameters": {"priority": 1},
        "inputs": [
            {
                "name": "input_ids",
                "datatype": "INT64",
                "shape": [1, 3],
                "parameters": {"binary_data_size": 24},
            }
        ],
        "outputs": [
            {"name": "score", "parameters": {"binary_data": True}},
            {"name": "logit", "parameters": {"binary_data": True}},
        ],
    }
    np.testing.assert_array_equal(np.frombuffer(tensor, dtype="<i8"), IDS[0])


def answer(*names: str, **changes: object) -> tuple[bytes, str]:
    """An answer of one tensor [1, 2] for each name, and the length of its header."""
    outputs = [{"name": name, "datatype": "FP32", "shape": [1, 2], **changes} for name in names]
    header = json.dumps({"outputs": outputs}).encode()
    values = np.arange(2 * len(names), dtype="<f4") / 10
    return header + values.tobytes(), str(len(header))


def test_an_answer_is_read_back() -> None:
    payload, length = answer("embedding")
    (output,) = decode_response(payload, outputs=["embedding"], header_length=length).values()
    assert output.dtype == np.float32
    np.testing.assert_array_equal(output, np.array([[0.0, 0.1]], dtype=np.float32))


def test_tensors_are_told_apart_by_their_names_not_by_their_order() -> None:
    payload, length = answer("logit", "score")
    outputs = decode_response(payload, outputs=["score", "logit"], header_length=length)
    np.testing.assert_array_equal(outputs["logit"], np.array([[0.0, 0.1]], dtype=np.float32))
    np.testing.assert_array_equal(outputs["score"], np.array([[0.2, 0.3]], dtype=np.float32))


PAYLOAD, LENGTH = answer("score", "logit")


@pytest.mark.parametrize(
    "spoiled",
    [
        answer(),
        answer("score"),
        answer("score", "score"),
        answer("score", "other"),
        answer("score", "logit", "embedding"),
        answer("score", "logit", datatype="FP16"),
        answer("score", "logit", shape=[1, 3]),
        answer("score", "logit", shape=[1, 1]),
        answer("score", "logit", shape=[1, -2]),
        answer("score", "logit", shape="x"),
        answer("score", "logit", shape=None),
        (PAYLOAD[:-1], LENGTH),
        (PAYLOAD + b"\0\0\0\0", LENGTH),
        (PAYLOAD, None),
        (PAYLOAD, "3"),
        (b"{}", "2"),
        (b"[]", "2"),
    ],
)
def test_a_spoiled_answer_is_refused(spoiled: tuple[bytes, str | None]) -> None:
    payload, length = spoiled
    with pytest.raises(ContractMismatchError, match=r"not \[score FP32, logit FP32\] as raw bytes"):
        decode_response(payload, outputs=["score", "logit"], header_length=length)
