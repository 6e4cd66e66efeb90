"""Requests over several servers: in turn, elsewhere when one fails, and back when it answers again; names looked up."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from qwen3_client import (
    InferenceError,
    Qwen3ClientError,
    ServerOverloadedError,
    ServerTimeoutError,
    ServerUnavailableError,
    UnknownModelError,
)
from qwen3_client.address import Address
from qwen3_client.errors import ConnectionLostError
from qwen3_client.transports.fake import FakeTransport
from qwen3_client.transports.spread import SpreadTransport

IDS = np.array([[1, 151643]], np.int64)


class Server(FakeTransport):
    """A server that counts its requests, and fails them while it has an error."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.error: Qwen3ClientError | None = None
        self.queue_size: int | None = None  # requests that it takes at once; None for any number
        self.now, self.most = 0, 0  # requests at once
        self.refusals = 0
        self.hangs: asyncio.Event | None = None  # requests wait for it, at most until they time out
        self.is_closed = False
        self.is_silent = False  # whether it answers nothing about its models

    async def model_config(self, model: str, *, timeout_s: float) -> dict[str, Any]:
        if self.is_silent:
            await asyncio.sleep(timeout_s)
            raise ServerTimeoutError("silent")
        return await super().model_config(model, timeout_s=timeout_s)

    async def infer(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        self.count += 1
        if self.error is not None:
            raise self.error
        if self.now == self.queue_size:
            self.refusals += 1
            raise ServerOverloadedError("full")
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            if self.hangs is not None:
                try:
                    await asyncio.wait_for(self.hangs.wait(), options["timeout_s"])
                except asyncio.TimeoutError:
                    raise ServerTimeoutError("hangs") from None
            await asyncio.sleep(0.001)
            return await super().infer(*args, **options)
        finally:
            self.now -= 1

    async def close(self) -> None:
        self.is_closed = True


def spread_over(servers: Sequence[Server], *, concurrency: int = 64) -> SpreadTransport:
    """Return the transport over servers 10.0.0.0, 10.0.0.1 and so on."""
    addresses = [Address(protocol="grpc", host=f"10.0.0.{index}", port=8001) for index in range(len(servers))]
    by_address = dict(zip(addresses, servers, strict=True))
    return SpreadTransport(addresses, open_one=by_address.__getitem__, concurrency=concurrency)


async def infer(spread: SpreadTransport, *, timeout_s: float = 30.0) -> None:
    await spread.infer("qwen3_embedding", IDS, outputs=["embedding"], priority="bulk", timeout_s=timeout_s)


@pytest.fixture
def servers() -> list[Server]:
    return [Server() for _ in range(3)]


def run(servers: list[Server], *steps: Callable[[], None] | int) -> list[int]:
    """Send as many requests as each number says, and do what stands between them; return the servers' counts."""

    async def send() -> None:
        spread = spread_over(servers)
        for step in steps:
            for _ in range(step if isinstance(step, int) else 0):
                await infer(spread)
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
    assert "10.0.0.1:8001 has " in caplog.text
    assert len(caplog.records) == 1, "said once"


def test_most_servers_decide_which_model_counts(servers: list[Server], caplog: pytest.LogCaptureFixture) -> None:
    give_another_model(servers[0])

    async def ask() -> dict[str, Any]:
        spread = spread_over(servers)
        config = await spread.model_config("qwen3_embedding", timeout_s=5.0)
        for _ in range(4):
            await infer(spread)
        return config

    assert asyncio.run(ask()) == servers[1].configs["qwen3_embedding"]
    assert [server.count for server in servers] == [0, 2, 2]
    assert "10.0.0.0:8001 has " in caplog.text


def test_where_only_servers_with_other_models_answer_the_error_names_them(servers: list[Server]) -> None:
    for server in servers[1:]:
        give_another_model(server)

    def go() -> None:
        servers[0].error = ServerUnavailableError("gone")

    with pytest.raises(
        ServerUnavailableError,
        match=r"gone; the model .* but grpc://10\.0\.0\.1:8001 has .*, grpc://10\.0\.0\.2:8001 has ",
    ):
        run(servers, 2, go, 1)
    assert [server.count for server in servers[1:]] == [0, 0]


def test_a_server_that_does_not_say_which_model_it_has_is_left_out(
    servers: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise each of its turns would take the whole time of the request, and fail."""
    monkeypatch.setattr("qwen3_client.transports.spread._ASK_S", 0.05)
    monkeypatch.setattr("qwen3_client.transports.spread._UNAVAILABLE_S", 600.0)
    servers[1].is_silent = True
    first, silent, third = run(servers, 6)
    assert silent == 0
    assert first + third == 6


def test_a_request_whose_time_is_over_while_a_server_is_asked_says_so(servers: list[Server]) -> None:
    servers[0].is_silent = True

    async def send() -> None:
        with pytest.raises(ServerTimeoutError):
            await infer(spread_over(servers), timeout_s=0.05)

    asyncio.run(send())


def test_the_config_is_not_awaited_from_a_server_that_is_silent(
    servers: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked once more when a request tries it."""
    monkeypatch.setattr("qwen3_client.transports.spread._ASK_S", 0.05)
    monkeypatch.setattr("qwen3_client.transports.spread._UNAVAILABLE_S", 600.0)
    servers[1].is_silent = True
    asked: list[float] = []

    async def model_config(model: str, *, timeout_s: float) -> dict[str, Any]:
        asked.append(timeout_s)
        return await Server.model_config(servers[1], model, timeout_s=timeout_s)

    monkeypatch.setattr(servers[1], "model_config", model_config)

    async def send() -> None:
        spread = spread_over(servers)
        for _ in range(3):
            await spread.model_config("qwen3_embedding", timeout_s=5.0)
        assert len(asked) == 1
        monkeypatch.setattr("qwen3_client.transports.spread._UNAVAILABLE_S", 0.0)
        servers[1].is_silent = False
        spread.servers.current[1].left_out_until = 1e-9  # long ago
        for _ in range(3):
            await infer(spread)
        before = len(asked)
        await spread.model_config("qwen3_embedding", timeout_s=5.0)
        assert len(asked) == before + 1

    asyncio.run(send())
    assert [server.count for server in servers] == [1, 1, 1]


def test_a_server_with_a_small_queue_does_not_slow_the_others(
    servers: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its window shrinks to what it takes; the windows of the others stay, and no request fails."""
    monkeypatch.setattr("qwen3_client.transports.spread._OVERLOADED_S", 0.0)
    servers[1].queue_size = 2

    async def send() -> list[int]:
        spread = spread_over(servers)
        at_once = asyncio.Semaphore(60)

        async def one() -> None:
            async with at_once:
                await infer(spread)

        await asyncio.gather(*(one() for _ in range(3000)))
        return [server.window.limit for server in spread.servers.current]

    limits = asyncio.run(send())
    assert limits[0] == limits[2] == 64
    assert limits[1] < 16
    assert servers[0].most + servers[2].most > 40
    # The window is at most a little over the queue, so few are refused, where every third was without windows.
    assert servers[1].refusals < 300


def test_a_request_that_waits_for_full_windows_ends_in_time(servers: list[Server]) -> None:
    async def send() -> None:
        spread = spread_over(servers[:2], concurrency=1)
        for server in servers[:2]:
            server.queue_size = 0  # so that nothing is taken
        for one in spread.servers.current:
            await one.window.enter("bulk")
        with pytest.raises(ServerTimeoutError):
            await infer(spread, timeout_s=0.05)
        for one, server in zip(spread.servers.current, servers, strict=False):
            server.queue_size = None
            one.window.leave()
        await infer(spread)  # no permit was lost
        await infer(spread)

    asyncio.run(send())


def test_a_lost_connection_is_told_so_that_the_request_is_sent_again_at_once(servers: list[Server]) -> None:
    for server in servers:
        server.error = ServerUnavailableError("gone")
    servers[1].error = ConnectionLostError("idle")
    with pytest.raises(ConnectionLostError):
        run(servers, 1)


def test_a_server_without_the_model_is_left_out(servers: list[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton answers so while it starts."""
    monkeypatch.setattr("qwen3_client.transports.spread._UNAVAILABLE_S", 600.0)
    servers[1].configs = {}
    first, lacking, third = run(servers, 6)
    assert lacking == 0
    assert first + third == 6


def test_a_model_that_no_server_has_is_unknown(servers: list[Server]) -> None:
    for server in servers:
        server.configs = {}
    with pytest.raises(UnknownModelError):
        run(servers, 1)


def test_a_server_that_hangs_does_not_stall_the_others(servers: list[Server]) -> None:
    """It keeps the requests that it got at first. The others take all the rest, though its window has room."""

    async def send() -> None:
        spread = spread_over(servers)
        servers[1].hangs = asyncio.Event()
        at_once = asyncio.Semaphore(6)

        async def one() -> None:
            async with at_once:
                await infer(spread)

        sent = [asyncio.ensure_future(one()) for _ in range(300)]
        while servers[0].count + servers[2].count < 270:  # all at_once would be stuck otherwise, and this not end
            await asyncio.sleep(0.001)
        assert servers[1].most <= 3
        servers[1].hangs.set()
        await asyncio.gather(*sent)

    asyncio.run(asyncio.wait_for(send(), 30))


def test_a_server_that_timed_out_is_left_out(servers: list[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen3_client.transports.spread._UNAVAILABLE_S", 600.0)

    async def send() -> None:
        spread = spread_over(servers)
        servers[0].error = ServerTimeoutError("hangs")
        with pytest.raises(ServerTimeoutError):
            await infer(spread)
        for _ in range(6):
            await infer(spread)

    asyncio.run(send())
    assert servers[0].count == 1


class Names:
    """The addresses of names, in place of those that the system knows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hosts: list[str] = []
        monkeypatch.setattr(socket, "getaddrinfo", self._getaddrinfo)

    def _getaddrinfo(self, host: str, port: int, *_: object, **__: object) -> list[Any]:
        if not self.hosts:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        assert host == "triton-headless"
        return [
            (socket.AF_INET6 if ":" in each else socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port))
            for each in self.hosts
        ]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    return Names(monkeypatch)


class Opened(dict[Address, Server]):
    """The servers that were opened, by their addresses."""

    def __missing__(self, address: Address) -> Server:
        self[address] = Server()
        return self[address]

    @property
    def counts(self) -> dict[str, int]:
        """The requests of each host."""
        return {address.host: server.count for address, server in self.items()}


NAME = Address(protocol="grpc", host="triton-headless", port=8001)


def test_a_name_is_spread_over_its_addresses_and_looked_up_again(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen3_client.transports.servers._LOOK_UP_S", 0.0)
    opened = Opened()

    async def send() -> None:
        spread = SpreadTransport([NAME], open_one=opened.__getitem__, concurrency=64)
        names.hosts = ["10.0.0.1", "10.0.0.2"]
        for _ in range(4):
            await infer(spread)
        assert opened.counts == {"10.0.0.1": 2, "10.0.0.2": 2}
        assert {address.name for address in opened} == {"triton-headless"}
        names.hosts = ["10.0.0.2", "10.0.0.3"]
        while opened.counts.get("10.0.0.3", 0) < 4:
            await infer(spread)
        before = opened.counts["10.0.0.1"]
        while not opened[next(iter(opened))].is_closed:  # no requests are on their way to it
            await infer(spread)
        assert opened.counts["10.0.0.1"] == before
        names.hosts = []  # the name service is away: what is known counts
        counts = opened.counts
        for _ in range(20):
            await infer(spread)
        assert opened.counts["10.0.0.3"] == counts["10.0.0.3"] + 10
        await spread.close()
        assert all(server.is_closed for server in opened.values())

    asyncio.run(send())


def test_a_server_that_left_the_name_finishes_its_requests(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen3_client.transports.servers._LOOK_UP_S", 0.0)
    opened = Opened()

    async def send() -> None:
        spread = SpreadTransport([NAME], open_one=opened.__getitem__, concurrency=64)
        names.hosts = ["10.0.0.1", "10.0.0.2"]
        await infer(spread)
        leaving = opened[next(address for address in opened if address.host == "10.0.0.1")]
        may_answer = asyncio.Event()

        async def models(*, timeout_s: float) -> list[str]:  # noqa: ARG001
            await may_answer.wait()
            return [] if leaving.is_closed else ["a"]

        monkeypatch.setattr(leaving, "models", models)
        asked = [asyncio.ensure_future(spread.models(timeout_s=30)) for _ in range(2)]
        names.hosts = ["10.0.0.2", "10.0.0.3"]
        while opened.counts.get("10.0.0.3", 0) < 4:
            await infer(spread)
        assert not leaving.is_closed
        may_answer.set()
        assert ["a"] in await asyncio.gather(*asked)
        while not leaving.is_closed:
            await infer(spread)

    asyncio.run(send())


def test_closing_waits_for_the_look_up_and_closes_what_it_was_closing(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qwen3_client.transports.servers._LOOK_UP_S", 0.0)
    opened = Opened()

    async def send() -> None:
        spread = SpreadTransport([NAME], open_one=opened.__getitem__, concurrency=64)
        names.hosts = ["10.0.0.1", "10.0.0.2"]
        await infer(spread)
        leaves = next(server for address, server in opened.items() if address.host == "10.0.0.1")
        closing, was_closed = asyncio.Event(), []

        async def close() -> None:
            if not closing.is_set():
                closing.set()
                await asyncio.Event().wait()
            was_closed.append(True)

        monkeypatch.setattr(leaves, "close", close)
        names.hosts = ["10.0.0.2", "10.0.0.3"]
        while not closing.is_set():
            await infer(spread)
        await spread.close()
        assert was_closed
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(send())


@pytest.mark.parametrize("said", ["gone", r"10\.0\.0\.2:8001 left the name"])
def test_a_server_that_left_the_name_is_not_tried_any_more(
    names: Names, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    """It is closed by then. The other one is unavailable, or has another model; so the session tries again."""
    monkeypatch.setattr("qwen3_client.transports.servers._LOOK_UP_S", 0.0)
    opened = Opened()

    async def send() -> None:
        spread = SpreadTransport([NAME], open_one=opened.__getitem__, concurrency=64)
        names.hosts = ["10.0.0.1", "10.0.0.2"]
        await spread.models(timeout_s=30.0)
        stays, leaves = opened.values()
        reached, may_go = asyncio.Event(), asyncio.Event()

        async def model_config(*_: object, timeout_s: float) -> dict[str, Any]:  # noqa: ARG001
            reached.set()
            await may_go.wait()
            if said == "gone":
                raise ServerUnavailableError("gone")
            return FakeTransport(dimensions=8).configs["qwen3_embedding"]

        monkeypatch.setattr(stays, "model_config", model_config)
        while spread.servers.in_order(None, None)[1].transport is not stays:  # now it is tried first
            pass
        spread._fingerprints["qwen3_embedding"] = "0" * 64
        asked = asyncio.ensure_future(infer(spread))
        await reached.wait()
        names.hosts = ["10.0.0.1", "10.0.0.3"]
        while not leaves.is_closed:
            await spread.models(timeout_s=30.0)
            await asyncio.sleep(0.001)
        may_go.set()
        with pytest.raises(ServerUnavailableError, match=said):
            await asked
        assert leaves.count == 0
        await spread.close()

    asyncio.run(send())


@pytest.mark.parametrize(
    ("hosts", "used"),
    [
        ([], ["triton-headless"]),  # the protocol then says what is wrong
        (["10.0.0.1"], ["triton-headless"]),
        (["fd00::1", "10.0.0.1"], ["triton-headless"]),  # one server, of which the protocol finds out how to reach it
        (["fd00::1", "fd00::2", "10.0.0.1", "10.0.0.2"], ["fd00::1", "fd00::2"]),
        (["fd00::1", "10.0.0.1", "10.0.0.2"], ["10.0.0.1", "10.0.0.2"]),
        (["10.0.0.1", "10.0.0.1", "10.0.0.2"], ["10.0.0.1", "10.0.0.2"]),
    ],
)
def test_the_two_families_of_addresses_belong_to_the_same_servers(
    names: Names, hosts: list[str], used: list[str]
) -> None:
    names.hosts = hosts
    opened = Opened()

    async def send() -> None:
        spread = SpreadTransport([NAME], open_one=opened.__getitem__, concurrency=64)
        for _ in range(2):
            await infer(spread)

    asyncio.run(send())
    assert sorted(opened.counts) == used


def test_a_single_server_is_asked_whatever_its_model_is(names: Names) -> None:
    """It has no peers to compare it with, and the window of the client is its own."""
    names.hosts = ["10.0.0.1"]
    opened = Opened()
    opened[NAME] = Server()
    opened[NAME].configs.clear()

    async def send() -> None:
        spread = SpreadTransport([NAME], open_one=opened.__getitem__, concurrency=1)
        with pytest.raises(UnknownModelError):
            await infer(spread)

    asyncio.run(send())
