"""A call with one text, which needs no event loop while nothing has to be waited for but its answer."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from qwen3_client import (
    Client,
    ContractMismatchError,
    InferenceError,
    InvalidInputError,
    Qwen3ClientError,
    ServerOverloadedError,
    ServerTimeoutError,
    ServerUnavailableError,
)
from qwen3_client.at_once import NeedsLoopError, run_at_once
from qwen3_client.errors import ConnectionLostError
from qwen3_client.transports import FakeTransport, Outputs


class Both(FakeTransport):
    """Answers on the loop and at once, and remembers in which way, in which thread and within how long."""

    def __init__(self) -> None:
        super().__init__(dimensions=64)
        self.at_once: list[int] = []  # the threads
        self.on_loop: list[float] = []  # the time-outs
        self.fail: Callable[[], None] = lambda: None
        self.under_way = self.most = 0
        self.lock = threading.Lock()

    async def infer(self, *args: Any, timeout_s: float, **options: Any) -> Outputs:  # noqa: ANN401 - as its base
        self.on_loop.append(timeout_s)
        with self.counted():
            await asyncio.sleep(0.001)
        return await super().infer(*args, timeout_s=timeout_s, **options)

    def infer_at_once(self, *args: Any, **options: Any) -> Outputs:  # noqa: ANN401
        self.at_once.append(threading.get_ident())
        self.fail()
        with self.counted():
            threading.Event().wait(0.001)
        return run_at_once(super().infer(*args, **options))

    @contextmanager
    def counted(self) -> Iterator[None]:
        with self.lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        yield
        with self.lock:
            self.under_way -= 1


def known(transport: Both, **options: Any) -> Client:  # noqa: ANN401
    """Return a client that knows both models and their tokenizers."""
    client = Client(transport=transport, **options)
    client.encode_document(["a", "b"])
    client.score([("q", "a"), ("q", "b")])
    transport.on_loop.clear()
    assert transport.at_once == []
    return client


CALLS: dict[str, Callable[[Client], Any]] = {
    "query": lambda client: client.encode_query("a"),
    "queries": lambda client: client.encode_query(["a"], instruction="Find it", dimensions=32),
    "document": lambda client: client.encode_document("word " * 2000, priority="interactive"),
    "tokens": lambda client: client.encode_tokens([[5, 6, 7]]),
    "rank": lambda client: [(found.index, found.score) for found in client.rank("q", ["d"])],
    "score": lambda client: client.score([("q", "d")]),
    "judge": lambda client: client.score_tokens([[5, 6, 7]]),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_one_text_is_sent_from_the_callers_thread_with_the_same_result(call: Callable[[Client], Any]) -> None:
    transport = Both()
    with Client(transport=FakeTransport(dimensions=64)) as other, known(transport) as client:
        expected = call(other)
        found = call(client)
    np.testing.assert_array_equal(np.array(found), np.array(expected))
    assert (transport.at_once, transport.on_loop) == ([threading.get_ident()], [])


def test_the_first_call_and_several_texts_go_to_the_loop() -> None:
    transport = Both()
    with Client(transport=transport) as client:
        client.encode_document("a")
        client.encode_document(["a", "b"])
        client.encode_document([])
        assert transport.at_once == []


def test_in_a_running_loop_the_call_goes_to_the_clients_own() -> None:
    transport = Both()

    async def run(client: Client) -> None:
        client.encode_document("a")

    with known(transport) as client:
        asyncio.run(run(client))
    assert (transport.at_once, len(transport.on_loop)) == ([], 1)


@pytest.mark.parametrize("error", [ServerUnavailableError, ServerOverloadedError])
def test_a_failure_at_once_is_the_first_try(error: type[Qwen3ClientError]) -> None:
    transport = Both()

    def fail() -> None:
        threading.Event().wait(0.1)
        raise error("not now")

    with known(transport, timeout_s=10) as client:
        transport.fail = fail
        assert client.encode_document("a").shape == (64,)
        assert (len(transport.at_once), len(transport.on_loop)) == (1, 1)
        assert transport.on_loop[0] <= 9.9, "the time-out counts from the first try"
        assert (client.async_client._session._window.limit < 64) is (error is ServerOverloadedError)
        assert client.encode_document(["a", "b"]).shape == (2, 64)
        assert transport.on_loop[1] > 9.9, "a further call has the whole time"


@pytest.mark.parametrize("error", [ServerUnavailableError, ServerOverloadedError])
def test_without_retries_there_is_one_try(error: type[Qwen3ClientError]) -> None:
    transport = Both()

    def fail() -> None:
        raise error("not now")

    with known(transport, retry_s=0) as client:
        transport.fail = fail
        with pytest.raises(error, match="not now"):
            client.encode_document("a")
        assert (len(transport.at_once), len(transport.on_loop)) == (1, 0)


def test_a_connection_that_was_lost_is_sent_again_without_retries_too() -> None:
    transport = Both()

    def fail() -> None:
        raise ConnectionLostError("idle for too long")

    with known(transport, retry_s=0) as client:
        transport.fail = fail
        assert client.encode_document("a").shape == (64,)
        assert (len(transport.at_once), len(transport.on_loop)) == (1, 1)


@pytest.mark.parametrize("error", [ServerTimeoutError, InferenceError, InvalidInputError, ContractMismatchError])
def test_other_failures_are_not_tried_again(error: type[Qwen3ClientError]) -> None:
    transport = Both()

    def fail() -> None:
        raise error("no")

    with known(transport) as client:
        transport.fail = fail
        with pytest.raises(error, match="no") as raised:
            client.encode_document("a")
        assert (len(transport.at_once), len(transport.on_loop)) == (1, 0)
    chain: BaseException | None = raised.value
    while chain is not None:
        assert not isinstance(chain, NeedsLoopError)
        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)


def test_what_a_proxy_or_a_mock_makes_up_is_not_used() -> None:
    class Proxy:
        def __getattr__(self, name: str) -> Any:  # noqa: ANN401
            return getattr(transport, name)

    transport = Both()
    with Client(transport=Proxy()) as client:
        client.encode_document(["a", "b"])
        client.encode_document("a")
    assert (transport.at_once, len(transport.on_loop)) == ([], 2)


def test_wrong_texts_and_options_are_refused_as_on_the_loop() -> None:
    transport = Both()
    with known(transport) as client:
        calls: list[Callable[[], object]] = [
            lambda: client.encode_document("a" * 40_000, truncate=False),
            lambda: client.encode_document("a", dimensions=100_000),
            lambda: client.encode_tokens([[999]]),
            lambda: client.encode_tokens([[1]], fingerprint="0123456789abcdef"),
        ]
        for call in calls:
            with pytest.raises(Qwen3ClientError):
                call()
    assert transport.at_once == []


def test_a_model_that_was_replaced_is_read_again() -> None:
    transport = Both()
    with known(transport) as client:
        before = client.info()
        parameters = transport.configs[before.name]["parameters"]
        parameters["default_instruction"] = {"string_value": "Another task"}
        client.async_client._embedding_model._read_at = float("-inf")  # as after some seconds
        client.encode_query("a")
        assert client.info().default_instruction == "Another task"
        assert (transport.at_once, len(transport.on_loop)) == ([], 1)


def test_threads_together_send_no_more_than_the_window_allows() -> None:
    transport = Both()
    with known(transport, concurrency=3) as client, ThreadPoolExecutor(8) as pool:
        expected = client.encode_document([f"text {i % 7}" for i in range(200)])
        calls = [
            pool.submit(client.encode_document, f"text {i % 7}" if i % 2 else [f"text {i % 7}", "b"])
            for i in range(200)
        ]
        for i, call in enumerate(calls):
            np.testing.assert_array_equal(np.atleast_2d(call.result(timeout=60))[0], expected[i])
        assert transport.most == 3
        assert transport.at_once
        assert transport.on_loop
        window = client.async_client._session._window
        assert (window._taken, window._taken_at_once) == (0, [])


def test_closing_is_noticed() -> None:
    client = known(Both())
    client.close()
    with pytest.raises(Qwen3ClientError, match="this client is closed"):
        client.encode_document("a")
