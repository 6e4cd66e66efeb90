"""Requests over several servers: in turn, elsewhere when one fails, and back when it answers again."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qwen3_client import InferenceError, Qwen3ClientError, ServerOverloadedError, ServerUnavailableError
from qwen3_client.transports.fake import FakeTransport
from qwen3_client.transports.spread import SpreadTransport

IDS = np.array([[1, 151643]], np.int64)


class Server(FakeTransport):
    """A server that counts its requests, and fails them while it has an error."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.error: Qwen3ClientError | None = None

    async def infer(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        self.count += 1
        if self.error is not None:
            raise self.error
        return await super().infer(*args, **options)


@pytest.fixture
def servers() -> list[Server]:
    return [Server() for _ in range(3)]


def run(servers: list[Server], *steps: Callable[[], None] | int) -> list[int]:
    """Send as many requests as each number says, and do what stands between them; return the servers' counts."""

    async def send() -> None:
        spread = SpreadTransport(servers, addresses=[f"s{index}:8001" for index in range(len(servers))])
        for step in steps:
            for _ in range(step if isinstance(step, int) else 0):
                await spread.infer("qwen3_embedding", IDS, outputs=["embedding"], priority="bulk", timeout_s=5.0)
            if not isinstance(step, int):
                step()
        await spread.close()

    asyncio.run(send())
    return [server.count for server in servers]


def test_each_server_has_its_turn(servers: list[Server]) -> None:
    assert run(servers, 9) == [3, 3, 3]


@pytest.mark.parametrize("error", [ServerUnavailableError("gone"), ServerOverloadedError("full")])
def test_a_request_goes_elsewhere_and_the_server_is_left_out(
    servers: list[Server], monkeypatch: pytest.MonkeyPatch, error: Qwen3ClientError
) -> None:
    for name in ("_UNAVAILABLE_S", "_OVERLOADED_S"):
        monkeypatch.setattr(f"qwen3_client.transports.spread.{name}", 600.0)
    servers[1].error = error
    first, failing, third = run(servers, 4)
    assert failing == 1
    assert first + third == 4


def test_a_server_that_answers_again_has_its_turn_again(servers: list[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen3_client.transports.spread._UNAVAILABLE_S", 0.0)
    servers[1].error = ServerUnavailableError("gone")

    def mend() -> None:
        servers[1].error = None
        for server in servers:
            server.count = 0

    assert run(servers, 6, mend, 9) == [3, 3, 3]


def test_if_all_fail_a_full_queue_is_the_reason_to_tell(servers: list[Server]) -> None:
    """The session then waits for less time, and has fewer requests on their way."""
    for server in servers:
        server.error = ServerUnavailableError("gone")
    servers[0].error = ServerOverloadedError("full")
    with pytest.raises(ServerOverloadedError, match="full"):
        run(servers, 1)
    assert [server.count for server in servers] == [1, 1, 1]


def test_an_error_of_the_request_is_not_tried_elsewhere(servers: list[Server]) -> None:
    servers[0].error = InferenceError("a bad text")
    with pytest.raises(InferenceError):
        run(servers, 1)
    assert [server.count for server in servers] == [1, 0, 0]


def give_another_model(server: Server) -> None:
    server.configs["qwen3_embedding"]["parameters"]["model_sha256"] = {"string_value": "0" * 64}


def test_a_server_with_another_model_gets_no_request_and_is_named(
    servers: list[Server], caplog: pytest.LogCaptureFixture
) -> None:
    give_another_model(servers[1])
    assert run(servers, 6) == [3, 0, 3]
    assert "s1:8001 has " in caplog.text
    assert len(caplog.records) == 1, "said once"


def test_most_servers_decide_which_model_counts(servers: list[Server], caplog: pytest.LogCaptureFixture) -> None:
    give_another_model(servers[0])

    async def ask() -> dict[str, Any]:
        spread = SpreadTransport(servers, addresses=["a:1", "b:1", "c:1"])
        config = await spread.model_config("qwen3_embedding", timeout_s=5.0)
        for _ in range(4):
            await spread.infer("qwen3_embedding", IDS, outputs=["embedding"], priority="bulk", timeout_s=5.0)
        return config

    assert asyncio.run(ask()) == servers[1].configs["qwen3_embedding"]
    assert [server.count for server in servers] == [0, 2, 2]
    assert "a:1 has " in caplog.text


def test_where_only_servers_with_other_models_answer_the_error_names_them(servers: list[Server]) -> None:
    for server in servers[1:]:
        give_another_model(server)

    def go() -> None:
        servers[0].error = ServerUnavailableError("gone")

    with pytest.raises(ServerUnavailableError, match=r"gone; the model .* but s1:8001 has .*, s2:8001 has "):
        run(servers, 2, go, 1)
    assert [server.count for server in servers[1:]] == [0, 0]
