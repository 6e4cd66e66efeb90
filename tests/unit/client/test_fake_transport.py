"""`FakeTransport`, with which users test programs of their own."""

import asyncio
import textwrap

import numpy as np
import pytest
from numpy.typing import NDArray
from qwen3_client import AsyncClient, Client, InferenceError, InvalidInputError, TextTooLongError
from qwen3_client.transports import FakeTransport, Transport, fake


def test_the_example_of_its_docstring_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert fake.__doc__ is not None
    example = "\n".join(line for line in fake.__doc__.splitlines() if line.startswith("    "))
    exec(textwrap.dedent(example), {})  # noqa: S102 - our own words
    assert capsys.readouterr().out == "1\n"


def test_it_is_a_transport_and_answers_as_the_models_would() -> None:
    transport: Transport = FakeTransport(dimensions=64)
    with Client(transport=transport) as client:
        table = client.encode_document(["one", "two", "one"])
        assert table.shape == (3, 64)
        assert table.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(table, axis=1), 1, rtol=1e-6)
        np.testing.assert_array_equal(table[0], table[2])
        assert (table[0] != table[1]).any()
        assert (client.encode_query("one") != table[0]).any()  # the task goes before it
        assert client.encode_document("one", dimensions=32).shape == (32,)
        ranking = client.rank("query", ["a", "b", "c"], return_documents=True)
        assert [hit.score for hit in ranking] == sorted((hit.score for hit in ranking), reverse=True)
        assert {hit.document for hit in ranking} == {"a", "b", "c"}
        assert client.is_ready()
        assert client.info().dimensions == 64


def test_both_clients_give_the_same() -> None:
    async def encode() -> object:
        async with AsyncClient(transport=FakeTransport()) as client:
            return (await client.encode_document("text")).tolist()

    with Client(transport=FakeTransport()) as client:
        assert asyncio.run(encode()) == client.encode_document("text").tolist()


def test_requests_are_there_to_be_looked_at() -> None:
    transport = FakeTransport()
    with Client(transport=transport) as client:
        client.encode_query("a")
        client.encode_document(["b", "c", "long"])
        client.score([("query", "document")])
    assert [(request.model, request.priority) for request in transport.requests] == [
        ("qwen3_embedding", "interactive"),
        ("qwen3_embedding", "bulk"),
        ("qwen3_embedding", "bulk"),
        ("qwen3_reranker", "interactive"),
    ]
    assert [len(request.input_ids) for request in transport.requests] == [1, 2, 1, 1]  # equal lengths travel together


def test_failures_and_answers_may_be_ones_own() -> None:
    class Constant(FakeTransport):
        def vector(self, input_ids: NDArray[np.int64], *, dimensions: int) -> NDArray[np.float32]:  # noqa: ARG002
            return np.full(dimensions, dimensions**-0.5, np.float32)

    transport = Constant(dimensions=64, max_tokens=16)
    with Client(transport=transport) as client:
        assert set(client.encode_document("a").tolist()) == {0.125}
        with pytest.raises(TextTooLongError, match=r"^text 1: more than the 16 tokens"):
            client.encode_document(["a", "b" * 16], truncate=False)
        with pytest.raises(InvalidInputError, match="text 0"):
            client.encode_document([""])
        transport.failure = InferenceError("out of memory")
        with pytest.raises(InferenceError, match=r"^text 0: out of memory$"):
            client.encode_document("a")
