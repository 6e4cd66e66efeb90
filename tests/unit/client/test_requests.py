"""Texts of equal length share a request, and nobody can tell but by the time it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from qwen3_client import Client, ContractMismatchError, InferenceError, InvalidInputError
from qwen3_client.token_ids import by_length

if TYPE_CHECKING:
    from unit.client.conftest import SlowTransport

MakeClient = Callable[..., Client]
TEXTS = ["a", "bb", "c", "dd", "eee", "f", "g", "h", "i"]  # six of one length, two of another, one of a third


@pytest.fixture
def batching(config: dict[str, Any], transport: SlowTransport) -> SlowTransport:
    """A transport whose embedding model takes four texts per request."""
    config["max_batch_size"] = 4
    return transport


@given(st.lists(st.integers(1, 700), max_size=100), st.integers(1, 40))
def test_every_row_is_in_one_request_with_its_equals(lengths: list[int], most: int) -> None:
    found = by_length(lengths, most=most)
    assert sorted(row for request in found for row in request) == list(range(len(lengths)))
    assert [request[0] for request in found] == sorted(request[0] for request in found)
    for request in found:
        (length,) = {lengths[row] for row in request}
        assert request == sorted(request)
        assert len(request) == 1 or (len(request) <= most and len(request) * length <= 512)


@given(st.integers(1, 700), st.integers(1, 100), st.integers(1, 40))
def test_no_more_requests_than_needed(length: int, count: int, most: int) -> None:
    room = min(most, max(512 // length, 1))
    assert len(by_length([length] * count, most=most)) == -(-count // room)


def test_equals_share_requests_and_rows_keep_their_order(make_client: MakeClient, batching: SlowTransport) -> None:
    client = make_client(concurrency=64)
    rows = client.encode_document(TEXTS)
    assert sorted(batching.shapes) == [(1, 4), (2, 2), (2, 3), (4, 2)]
    for text, row in zip(TEXTS, rows, strict=True):
        np.testing.assert_array_equal(client.encode_document(text), row)
    np.testing.assert_array_equal(list(client.encode_stream(TEXTS)), rows)


def test_without_max_batch_size_each_text_travels_alone(make_client: MakeClient, transport: SlowTransport) -> None:
    make_client(concurrency=64).encode_document(TEXTS)
    assert {shape[0] for shape in transport.shapes} == {1}


def test_where_answers_are_cached_each_text_travels_alone(
    make_client: MakeClient, batching: SlowTransport, config: dict[str, Any]
) -> None:
    config["response_cache"] = {"enable": True}
    make_client(concurrency=64).encode_document(TEXTS)
    assert {shape[0] for shape in batching.shapes} == {1}


def test_a_bad_row_harms_none_of_its_request(make_client: MakeClient, batching: SlowTransport) -> None:
    plain = batching.answer

    def answer(input_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = plain(input_ids)
        return np.full_like(vector, np.nan) if input_ids[0, 0] == ord_of("f") else vector

    batching.answer = answer
    rows = make_client(concurrency=64).encode_stream(TEXTS)
    assert len([next(rows) for _ in range(5)]) == 5
    with pytest.raises(InferenceError, match=r"text 5: .*not finite"):
        next(rows)


def test_a_refused_request_is_asked_again_row_by_row(make_client: MakeClient, batching: SlowTransport) -> None:
    plain = batching.answer

    def answer(input_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        if input_ids[0, 0] == ord_of("f"):
            raise InvalidInputError("refused")
        return plain(input_ids)

    batching.answer = answer
    rows = make_client(concurrency=64).encode_stream(TEXTS)
    assert len([next(rows) for _ in range(5)]) == 5
    with pytest.raises(InvalidInputError, match="text 5: refused"):
        next(rows)


def test_too_few_rows_are_noticed(make_client: MakeClient, batching: SlowTransport) -> None:
    batching.answer = lambda input_ids: np.zeros((0, 64), np.float32)  # noqa: ARG005
    with pytest.raises(ContractMismatchError, match=r"text 0: .*\[0, 64\] where its config says float32 \[2, 64\]"):
        make_client(concurrency=64).encode_document(["a", "b"])


def ord_of(character: str) -> int:
    """The only token of a character, in the tests' tokenizer of bytes: its index in the sorted byte-level alphabet."""
    from tokenizers import pre_tokenizers

    return sorted(pre_tokenizers.ByteLevel.alphabet()).index(character)
