"""The client's own logic: order, windows, errors, closing. The network is a function (see conftest)."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from qwen3_client import (
    Client,
    ContractMismatchError,
    InferenceError,
    InvalidInputError,
    Qwen3ClientError,
    ServerOverloadedError,
    ServerTimeoutError,
    ServerUnavailableError,
    Tls,
)
from qwen3_client.transports import FakeTransport

if TYPE_CHECKING:
    from unit.client.conftest import SlowTransport

MakeClient = Callable[..., Client]
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


def test_one_text_gives_a_vector_and_several_a_table(make_client: MakeClient) -> None:
    client = make_client()
    vector = client.encode_document("a")
    table = client.encode_document(("a", "b", "a"))
    assert vector.shape == (64,)
    assert table.shape == (3, 64)
    assert vector.dtype == table.dtype == np.float32
    assert vector.flags.writeable
    np.testing.assert_array_equal(table[0], vector)
    np.testing.assert_array_equal(table[0], table[2])
    assert not np.array_equal(table[0], table[1])


def test_no_texts_give_an_empty_table(make_client: MakeClient) -> None:
    client = make_client()
    assert client.encode_document([]).shape == (0, 64)
    assert client.encode_query([], dimensions=32).shape == (0, 32)
    assert list(client.encode_stream([])) == []


def test_a_query_is_its_prompt_and_a_document_is_itself(make_client: MakeClient) -> None:
    client = make_client()
    np.testing.assert_array_equal(client.encode_query("x"), client.encode_document("Instruct: Find it\nQuery:x"))
    np.testing.assert_array_equal(
        client.encode_query("x", instruction="Sort"), client.encode_document("Instruct: Sort\nQuery:x")
    )
    (streamed,) = client.encode_stream(["x"], kind="query", instruction="Sort")
    np.testing.assert_array_equal(streamed, client.encode_query("x", instruction="Sort"))


def test_dimensions_are_cut_to_unit_norm(make_client: MakeClient) -> None:
    client = make_client()
    full, short = client.encode_document(["a", "b"]), client.encode_document(["a", "b"], dimensions=32)
    np.testing.assert_allclose(np.linalg.norm(short, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(short, full[:, :32] / np.linalg.norm(full[:, :32], axis=1)[:, None], atol=1e-6)
    for call in (client.encode_query, client.encode_document, client.encode_stream):
        with pytest.raises(InvalidInputError, match="from 32 to 64, not 65"):
            call(["a"], dimensions=65)


def test_a_model_of_fixed_dimensions_says_so_before_texts_are_sent(config: dict[str, Any]) -> None:
    config["parameters"]["mrl_dimensions"] = {"string_value": "fixed"}
    transport = FakeTransport(configs=[config])
    with Client(transport=transport) as client:
        assert client.encode_document("a").shape == client.encode_document("a", dimensions=64).shape == (64,)
        sent = len(transport.requests)
        for call in (client.encode_query, client.encode_document, client.encode_stream):
            with pytest.raises(InvalidInputError, match=r"must be 64 or left out, not 32: .* a fixed size, because"):
                call(["a"], dimensions=32)
        assert len(transport.requests) == sent


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # the fixtures hold nothing that an example changes
@given(st.lists(TEXTS, max_size=40), st.integers(1, 9), st.randoms(use_true_random=False))
def test_order_survives_every_window(
    transport: SlowTransport, texts: list[str], concurrency: int, random: Random
) -> None:
    delays = [random.random() * 0.003 for _ in range(7)]
    transport.delay_s = lambda input_ids: delays[int(input_ids.sum()) % 7]
    with Client(concurrency=concurrency) as client:
        table = client.encode_document(texts)
        streamed = list(client.encode_stream(iter(texts)))
    transport.delay_s = lambda _: 0.0
    with Client(concurrency=1) as client:
        alone = [client.encode_document(text) for text in texts]
    assert len(table) == len(streamed) == len(alone)
    for a, b, c in zip(table, streamed, alone, strict=True):
        assert a.tobytes() == b.tobytes() == c.tobytes()


def test_requests_go_out_together_and_never_more_than_allowed(
    make_client: MakeClient, transport: SlowTransport
) -> None:
    barrier = threading.Barrier(4)
    plain = transport.answer

    def meet(input_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        barrier.wait(timeout=30)  # passes only when four requests are on their way at once
        return plain(input_ids)

    transport.answer = meet
    client = make_client(concurrency=4)
    client.encode_document([str(i) for i in range(20)])
    assert transport.most_at_once == 4
    # Several callers share the bound.
    with ThreadPoolExecutor(3) as callers:
        tables = list(callers.map(lambda _: client.encode_document([str(i) for i in range(20)]), range(3)))
    assert transport.most_at_once == 4
    assert tables[0].tobytes() == tables[1].tobytes() == tables[2].tobytes()


def test_a_stream_takes_a_bounded_number_of_texts_ahead(make_client: MakeClient) -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield str(taken)

    stream = make_client(concurrency=5).encode_stream(endless())
    for given_out in range(1, 200):
        next(stream)
        assert taken - given_out < 2 * 5


def test_closing_a_stream_gives_up_what_is_pending(make_client: MakeClient, transport: SlowTransport) -> None:
    client = make_client(concurrency=2)
    gate = threading.Event()
    plain = transport.answer
    passed = iter(range(2))

    def held(input_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        if next(passed, None) is None:
            gate.wait(timeout=30)
        return plain(input_ids)

    transport.answer = held
    stream = client.encode_stream(str(i) for i in range(1_000))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    gate.set()
    client.encode_document("after")
    assert transport.count <= 6


def test_the_first_error_in_order_is_raised_after_the_rows_before_it(
    make_client: MakeClient, transport: SlowTransport
) -> None:
    plain = transport.answer

    def answer(input_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        if input_ids.shape[1] == 6:
            raise InferenceError("gone")
        return plain(input_ids)

    transport.answer = answer
    texts = ["a"] * 10 + ["aaaaa"] + ["a"] * 1000
    client = make_client(concurrency=4)
    rows = client.encode_stream(texts)
    assert len([next(rows) for _ in range(10)]) == 10
    with pytest.raises(InferenceError, match="text 10: gone") as caught:
        next(rows)
    assert caught.value.index == 10
    with pytest.raises(InferenceError, match="text 10: gone"):
        client.encode_document(texts)
    assert transport.count < 60
    assert client.encode_document("fine").shape == (64,)


def test_a_vector_that_is_not_finite_is_an_error_for_its_text(
    make_client: MakeClient, transport: SlowTransport
) -> None:
    plain = transport.answer

    def answer(input_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = plain(input_ids)
        return np.full_like(vector, np.nan) if input_ids.shape[1] == 6 else vector

    transport.answer = answer
    with pytest.raises(InferenceError, match=r"text 7: .*not finite"):
        make_client().encode_document(["a"] * 7 + ["aaaaa"])


def test_what_is_refused_for_a_while_is_sent_again(make_client: MakeClient, transport: SlowTransport) -> None:
    plain, answers, refused = transport.answer, itertools.count(1), 0

    def answer(input_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        nonlocal refused
        if next(answers) % 3 == 0:
            refused += 1
            raise ServerOverloadedError("full") if refused % 2 else ServerUnavailableError("away")
        return plain(input_ids)

    texts = [str(i) for i in range(50)]
    expected = make_client().encode_document(texts)
    transport.answer = answer
    np.testing.assert_array_equal(make_client().encode_document(texts), expected)
    assert refused > 10


def test_other_failures_are_not_tried_again(make_client: MakeClient, transport: SlowTransport) -> None:
    for failure in (InferenceError("no"), ServerTimeoutError("late"), ContractMismatchError("other")):

        def answer(_: NDArray[np.int64], failure: Exception = failure) -> NDArray[np.float32]:
            raise failure

        transport.answer = answer
        before = transport.count
        with pytest.raises(type(failure)):
            make_client().encode_document("a")
        assert transport.count == before + 1


def test_tries_end_with_the_deadline(transport: SlowTransport) -> None:
    def answer(_: NDArray[np.int64]) -> NDArray[np.float32]:
        raise ServerUnavailableError("away")

    transport.answer = answer
    for client in (Client(timeout_s=2), Client(retry_s=0.5)):
        with (
            client,
            pytest.raises(ServerUnavailableError, match=r"^text 0: away \(tried \d+ times"),
        ):
            client.encode_document("a")
    before = transport.count
    with Client(retry_s=0) as client, pytest.raises(ServerUnavailableError, match=r"^text 0: away$"):
        client.encode_document("a")
    assert transport.count == before + 1


def test_tokens_are_the_two_halves_of_encoding(make_client: MakeClient) -> None:
    client = make_client()
    texts = ["a", "bc", "x" * 300]
    for kind, encode in (("document", client.encode_document), ("query", client.encode_query)):
        ids = client.tokenize(texts, kind=kind)  # type: ignore[arg-type]
        assert [row.dtype for row in ids] == [np.int64] * 3
        assert ids[-1].size == 128
        np.testing.assert_array_equal(client.encode_tokens(ids, dimensions=32), encode(texts, dimensions=32))
    rows = [client.encode_tokens([ids]) for ids in ([1, 2, 256], (1, 2, 256), np.array([1, 2, 256], np.uint16))]
    assert rows[0].tolist() == rows[1].tolist() == rows[2].tolist()
    pairs = [("q", "a"), ("q", "b")]
    judgements = client.score_tokens(client.tokenize_pairs(pairs))
    assert [judgement.score for judgement in judgements] == client.score(pairs).tolist()
    assert client.encode_tokens([]).shape == (0, 64)


@pytest.mark.parametrize("bad", [[], [[1]], [1.0], ["a"], [257], [-1], [2**63], [1] * 129, None, 3])
def test_bad_token_ids_are_named_before_anything_is_sent(
    make_client: MakeClient, transport: SlowTransport, bad: object
) -> None:
    with pytest.raises(InvalidInputError, match=r"^text 1: ") as caught:
        make_client().encode_tokens([[1, 256], bad])  # type: ignore[list-item]
    assert caught.value.index == 1
    assert transport.count == 0


@pytest.mark.parametrize("truncate", ["both", None, 2, "END"])
def test_truncate_is_one_of_four(make_client: MakeClient, truncate: object) -> None:
    with pytest.raises(InvalidInputError, match="truncate must be True, False, 'start' or 'end'"):
        make_client().encode_document("a", truncate=truncate)  # type: ignore[arg-type]


def test_a_vector_of_another_length_is_a_mismatch(make_client: MakeClient, transport: SlowTransport) -> None:
    transport.answer = lambda _: np.zeros((1, 63), dtype=np.float32)
    with pytest.raises(ContractMismatchError, match=r"text 0: .*float32 \[1, 63\]"):
        make_client().encode_document("a")


@pytest.mark.parametrize("bad", ["", None, 3, b"x", "\ud800"])
def test_a_bad_text_in_a_sequence_is_named_before_anything_is_sent(
    make_client: MakeClient, transport: SlowTransport, bad: object
) -> None:
    for encode in (make_client().encode_query, make_client().encode_document):
        with pytest.raises(InvalidInputError, match="text 99: "):
            encode(["fine"] * 99 + [bad])  # type: ignore[list-item]
    assert transport.count == 0


def test_a_bad_text_in_a_stream_is_named_when_it_is_reached(make_client: MakeClient) -> None:
    rows = make_client(concurrency=1).encode_stream(["fine", ""])
    with pytest.raises(InvalidInputError, match="text 1: "):
        list(rows)
    with pytest.raises(InvalidInputError, match="not one str"):
        make_client().encode_stream("abc")


def test_too_long_is_cut_or_refused(make_client: MakeClient) -> None:
    client = make_client()
    np.testing.assert_array_equal(client.encode_document("x" * 100_000), client.encode_document("x" * 127))
    with pytest.raises(InvalidInputError, match="text 5: more than the 128 tokens"):
        client.encode_document(["x"] * 5 + ["x" * 128], truncate=False)


@pytest.mark.parametrize("text", ["\0", "🙂", " ", "\r\n", "北京"])
def test_odd_texts_are_texts(make_client: MakeClient, text: str) -> None:
    assert make_client().encode_query([text]).shape == (1, 64)


def test_the_model_is_asked_once_by_all_threads(make_client: MakeClient, transport: SlowTransport) -> None:
    client = make_client()
    assert (transport.index_calls, transport.config_calls) == (0, 0)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: client.encode_document(str(i)), range(50)))
    assert (transport.index_calls, transport.config_calls) == (1, 2)  # one for each model that the server has
    assert client.info().dimensions == 64
    assert client.is_ready()


def test_a_failure_to_reach_the_model_is_not_remembered(make_client: MakeClient, transport: SlowTransport) -> None:
    client = make_client()
    parameters = transport.configs["qwen3_embedding"].pop("parameters")
    with pytest.raises(ContractMismatchError, match="no parameter 'source'"):
        client.encode_document("a")
    transport.configs["qwen3_embedding"]["parameters"] = parameters
    assert client.encode_document("a").shape == (64,)


def test_a_closed_client_says_so(make_client: MakeClient, transport: SlowTransport) -> None:
    client = make_client()
    with client:
        rows = client.encode_stream(str(i) for i in range(100))
        next(rows)
    client.close()
    assert transport.is_closed
    for call in (
        lambda: list(rows),
        lambda: client.encode_document("a"),
        client.is_ready,
    ):
        with pytest.raises(Qwen3ClientError, match="this client is closed"):
            call()


def test_closing_in_another_thread_ends_a_call(make_client: MakeClient, transport: SlowTransport) -> None:
    plain = transport.answer

    def answer(input_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        while not transport.is_closed:
            time.sleep(0.01)
        if input_ids.shape[1] == 3:
            raise ServerUnavailableError("cancelled")
        return plain(input_ids)

    transport.answer = answer
    client = make_client(concurrency=2)
    threading.Timer(0.1, client.close).start()
    with pytest.raises(Qwen3ClientError, match="this client is closed"):
        client.encode_document(["aa"] * 100)


@pytest.mark.parametrize(
    "options",
    [
        {"url": ""},
        {"url": "https://host/path"},
        {"model": ""},
        {"reranker": ""},
        {"reranker": 3},
        {"timeout_s": 0},
        {"timeout_s": -1.0},
        {"timeout_s": float("inf")},
        {"timeout_s": float("nan")},
        {"concurrency": 0},
        {"retry_s": -1},
        {"retry_s": float("nan")},
        {"tls": Tls()},
        {"token": "two\nlines"},
        {"token": "x", "headers": {"Authorization": "y"}},
        {"headers": {"Content-Length": "1"}},
        {"headers": {"grpc-timeout": "1"}},
        {"headers": {"Accept-Encoding": "gzip"}},
        {"headers": {"": "1"}},
        {"headers": {"x": "é"}},
        {"headers": {"x": 3}},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        Client(**options)
