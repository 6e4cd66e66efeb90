"""A client is pickled as its options, whatever it was used for."""

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from qwen3_client import AsyncClient, Client, InvalidInputError, Qwen3ClientError, ServerUnavailableError
from qwen3_client.transports import FakeTransport

if TYPE_CHECKING:
    from unit.client.conftest import SlowTransport


def options_of(client: Client | AsyncClient) -> Any:  # noqa: ANN401
    return (client.async_client if isinstance(client, Client) else client)._session.options


def unpickled(client: Client | AsyncClient) -> Client | AsyncClient:
    found: Client | AsyncClient = pickle.loads(pickle.dumps(client))  # noqa: S301 - it is our own
    return found


@pytest.mark.parametrize("again", [unpickled, copy.copy, copy.deepcopy])
def test_a_used_client_can_be_pickled_and_copied(again: Callable[[Any], Any], transport: "SlowTransport") -> None:
    headers = MappingProxyType({"a": "b"})
    with Client("localhost:1", model="qwen3_embedding", token="secret", headers=headers, concurrency=3) as client:  # noqa: S106
        expected = client.encode_document("text")
        for used in (client, client.async_client):
            copied = again(used)
            assert type(copied) is type(used)
            assert options_of(copied) == options_of(client)
        with again(client) as other:
            client.close()
            assert transport.is_closed
            transport.is_closed = False
            assert (other.encode_document("text") == expected).all(), "its connection is its own"
            other.close()
            with pytest.raises(Qwen3ClientError, match="closed"):
                other.info()
        assert again(client).info().name == "qwen3_embedding", "a closed client is opened again"


def test_a_client_with_a_transport_of_its_own_says_what_to_do() -> None:
    with Client(transport=FakeTransport()) as client, pytest.raises(InvalidInputError, match="pass a function"):
        pickle.dumps(client)


def test_a_used_client_goes_to_the_workers_of_a_pool() -> None:
    with Client("http://127.0.0.1:1", retry_s=0) as client:
        with pytest.raises(ServerUnavailableError):
            client.info()
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool, pytest.raises(ServerUnavailableError):
            pool.submit(Client.info, client).result()
