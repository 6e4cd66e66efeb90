"""What a client does to its transport: opened once, closed once, never opened again."""

import asyncio
import threading
from dataclasses import dataclass, field

import numpy as np
import pytest
from qwen3_client import (
    AsyncClient,
    Client,
    InvalidInputError,
    Qwen3ClientError,
    ServerUnavailableError,
    TextTooLongError,
)
from qwen3_client import session as session_module
from qwen3_client.cli.main import main
from qwen3_client.transports import FakeTransport


class Closing(FakeTransport):
    """Counts how often it was closed."""

    closed = 0

    async def close(self) -> None:
        self.closed += 1


def test_closing_while_the_model_is_looked_up_opens_nothing_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()

    class Silent(Closing):
        async def models(self, *, timeout_s: float) -> list[str]:
            asked.set()
            try:
                await asyncio.sleep(timeout_s)
            finally:
                opened.extend(["cancelled"] if client.async_client._session._is_closed else [])
            return []

    opened: list[str] = []
    monkeypatch.setattr(session_module, "connect", lambda options: opened.append(str(options.address)))
    transport = Silent()
    client = Client(transport=transport)
    failures: list[Exception] = []

    def ask() -> None:
        try:
            client.info()
        except Qwen3ClientError as error:
            failures.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    assert asked.wait(30)
    client.close()
    thread.join(30)
    assert [str(failure) for failure in failures] == ["this client is closed; make a new one"]
    assert opened == ["cancelled"]
    assert transport.closed == 1


def test_a_transport_that_was_given_is_closed_even_if_it_was_not_used() -> None:
    transport = Closing()
    with Client(transport=transport):
        pass
    assert transport.closed == 1


def test_a_transport_may_define_equality() -> None:
    @dataclass
    class Recorder(Closing):
        names: list[str] = field(default_factory=list)

        def __post_init__(self) -> None:
            super().__init__(dimensions=64)

    transport = Recorder()
    with Client(transport=transport) as client:
        assert client.encode_document("a").shape == (64,)
    assert transport.closed == 1


def test_a_client_inside_a_transport_is_a_client_of_its_own() -> None:
    inner_transport = Closing(dimensions=64)
    inner = AsyncClient(transport=inner_transport)

    class Relay(FakeTransport):
        async def is_ready(self, model: str, *, timeout_s: float) -> bool:  # noqa: ARG002
            return await inner.is_ready()

    with Client(model="qwen3_embedding", transport=Relay()) as client:
        assert client.is_ready()
        asyncio.run(inner.close())
        assert inner_transport.closed == 1
        with pytest.raises(Qwen3ClientError, match="this client is closed"):
            client.is_ready()


def test_an_error_of_a_class_of_ones_own_stays_one() -> None:
    class HostError(ServerUnavailableError):
        def __init__(self, host: str) -> None:
            super().__init__(f"{host} is away")
            self.host = host

    transport = FakeTransport()
    transport.failure = HostError("a")
    with (
        Client(transport=transport, retry_s=0.2) as client,
        pytest.raises(HostError, match=r"^text 0: a is away \(tried \d+ times\)$") as caught,
    ):
        client.encode_document("x")
    assert (caught.value.host, caught.value.index) == ("a", 0)


@pytest.mark.parametrize("no", [False, 0, np.False_])
def test_every_false_value_refuses_a_text_that_is_too_long(no: bool) -> None:  # noqa: FBT001
    with (
        Client(transport=FakeTransport(max_tokens=512)) as client,
        pytest.raises(TextTooLongError),
    ):
        client.encode_document("x" * 600, truncate=no)


def test_pairs_are_cut_at_their_end_or_not_at_all() -> None:
    with (
        Client(transport=FakeTransport()) as client,
        pytest.raises(InvalidInputError, match="truncate must be True or False for pairs, not 'start'"),
    ):
        client.score([("query", "document")], truncate="start")  # type: ignore[arg-type]


@pytest.mark.parametrize("ids", [None, 5, {1, 2}])
def test_what_is_no_sequence_of_ids_is_refused(ids: object) -> None:
    with (
        Client(transport=FakeTransport()) as client,
        pytest.raises(InvalidInputError, match="token ids must be a sequence for each text"),
    ):
        client.encode_tokens(ids)  # type: ignore[arg-type]


def test_a_fake_s_logit_may_be_any_number() -> None:
    class Certain(FakeTransport):
        def logit(self, input_ids: object) -> float:  # noqa: ARG002
            return -1000.0

    with Client(transport=Certain()) as client:
        assert client.score([("query", "document")]).tolist() == [0.0]


@pytest.mark.parametrize("seconds", ["0", "-1", "nan"])
@pytest.mark.parametrize("command", ["status", "reload"])
def test_a_time_out_is_a_positive_number(command: str, seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--url", "http://127.0.0.1:1", "--timeout", seconds]) == 2
    assert "--timeout must be a positive number of seconds" in capsys.readouterr().err
