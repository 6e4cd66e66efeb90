"""What the plugin lets into a batch, against plain Python and against the embedded host."""

import ctypes
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qwen3_serve.host.packed_batches import packed_batches
from support.batching import Batcher, Plugin, PluginError, model_config

pytestmark = pytest.mark.compiler

shapes = st.lists(st.tuples(st.integers(1, 32), st.integers(0, 5000)), max_size=40)
max_batch_tokens = st.integers(1, 20_000)
max_slots_per_token = st.one_of(st.none(), st.floats(1, 10))


def limits(tokens: int, positions_per_token: float | None) -> dict[str, str]:
    return {"max_batch_tokens": str(tokens)} | (
        {} if positions_per_token is None else {"max_slots_per_token": repr(positions_per_token)}
    )


def expected_batches(
    requests: list[tuple[int, int]], tokens: int, positions_per_token: float | None
) -> list[list[int]]:
    batches: list[list[int]] = []
    for index in range(len(requests)):
        grown = [requests[i] for i in [*(batches[-1] if batches else []), index]]
        real = sum(texts * length for texts, length in grown)
        padded = sum(texts for texts, _ in grown) * max(length for _, length in grown)
        limit = math.inf if positions_per_token is None or padded == 0 else positions_per_token * real
        if batches and real <= tokens and padded <= limit:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


@given(requests=shapes, tokens=max_batch_tokens, positions_per_token=max_slots_per_token)
def test_reference(
    plugin: Plugin,
    requests: list[tuple[int, int]],
    tokens: int,
    positions_per_token: float | None,
) -> None:
    with plugin.batcher(model_config(limits(tokens, positions_per_token))) as batcher:
        assert batcher.batches(requests) == expected_batches(requests, tokens, positions_per_token)
    assert plugin.alive == 0


@given(st.lists(st.integers(1, 5000), max_size=64).map(sorted), max_batch_tokens, st.floats(1, 10))
def test_the_embedded_host_cuts_sorted_texts_alike(
    plugin: Plugin, lengths: list[int], tokens: int, positions_per_token: float
) -> None:
    with plugin.batcher(model_config(limits(tokens, positions_per_token))) as batcher:
        own = batcher.batches([(1, length) for length in lengths])
    assert own == packed_batches(lengths, max_tokens=tokens, max_slots_per_token=positions_per_token)


@pytest.mark.parametrize(
    ("parameters", "requests", "expected"),
    [
        ({"max_batch_tokens": "100"}, [(1, 60), (1, 40), (1, 1)], [[0, 1], [2]]),
        ({"max_batch_tokens": "99"}, [(1, 60), (1, 40)], [[0], [1]]),
        ({"max_batch_tokens": "1"}, [(1, 32768), (32, 32768), (1, 1)], [[0], [1], [2]]),
        ({"max_batch_tokens": "30"}, [(3, 5), (3, 5), (1, 1)], [[0, 1], [2]]),
        # 2 x 60 positions for 100 tokens, exactly the limit
        ({"max_batch_tokens": "999", "max_slots_per_token": "1.2"}, [(1, 60), (1, 40)], [[0, 1]]),
        ({"max_batch_tokens": "999", "max_slots_per_token": "1.2"}, [(1, 60), (1, 39)], [[0], [1]]),
        ({"max_batch_tokens": "999", "max_slots_per_token": "1"}, [(2, 7), (1, 7), (1, 8)], [[0, 1], [2]]),
        # without a padding limit, any lengths share a batch
        ({"max_batch_tokens": "9999"}, [(1, 1), (1, 9000), (30, 1)], [[0, 1, 2]]),
        ({"max_batch_tokens": "18446744073709551615"}, [(1, 2**63 - 1), (1, 2**63 - 1), (1, 1)], [[0, 1, 2]]),
        (
            {"max_batch_tokens": "18446744073709551614"},
            [(2, 2**63 - 1), (1, 1), (2**63 - 1, 2**63 - 1)],
            [[0], [1], [2]],
        ),
        ({"max_batch_tokens": "5"}, [(1, 0), (4, 0), (1, 5), (1, 0)], [[0, 1, 2, 3]]),
    ],
)
def test_examples(
    plugin: Plugin, parameters: dict[str, str], requests: list[tuple[int, int]], expected: list[list[int]]
) -> None:
    with plugin.batcher(model_config(parameters)) as batcher:
        assert batcher.batches(requests) == expected


def test_a_closed_batch_stays_closed(plugin: Plugin) -> None:
    """A later, smaller request would fit, but must not overtake."""
    with plugin.batcher(model_config({"max_batch_tokens": "100"})) as batcher:
        userp = ctypes.c_void_p()
        batcher.begin(userp)
        assert [batcher.offer(userp, (1, length)) for length in (60, 50, 1)] == [True, False, False]


def test_a_batch_that_goes_on_keeps_what_it_holds(plugin: Plugin) -> None:
    """Triton hands a batch over, and adds to it until the model takes it."""
    with plugin.batcher(model_config({"max_batch_tokens": "100"})) as batcher:
        userp = ctypes.c_void_p()
        taken = []
        for length in (60, 30, 30, 10):
            batcher.begin(userp)
            taken.append(batcher.offer(userp, (1, length)))
            batcher.finish(userp)
        assert taken == [True, True, False, False]
        other = ctypes.c_void_p()
        batcher.begin(other)
        assert batcher.offer(other, (1, 100))


@pytest.mark.parametrize(
    ("shape", "has_input_ids", "reason"),
    [
        ((5,), True, "texts, tokens"),
        ((1, 2, 3), True, "texts, tokens"),
        ((1, -1), True, "texts, tokens"),
        ((-1, 5), True, "texts, tokens"),
        ((1, 5), False, "unknown request input"),
    ],
)
def test_a_request_of_unknown_size_runs_alone(
    plugin: Plugin,
    shape: tuple[int, ...],
    has_input_ids: bool,  # noqa: FBT001
    reason: str,
) -> None:
    with plugin.batcher(model_config({"max_batch_tokens": "100"})) as batcher:
        for before, expected in (([], True), ([(1, 1)], False)):
            userp = ctypes.c_void_p()
            batcher.begin(userp)
            for request in before:
                assert batcher.offer(userp, request)
            included, error = batcher.offer_raw(userp, shape, has_input_ids=has_input_ids)
            assert included == expected
            with pytest.raises(PluginError, match=reason):
                plugin.check(error)
            assert not batcher.offer(userp, (1, 1))
    assert plugin.alive == 0


def test_a_batch_without_budget_still_moves(plugin: Plugin) -> None:
    with plugin.batcher(model_config({"max_batch_tokens": "100"})) as batcher:
        included, error = batcher.offer_raw(ctypes.c_void_p(), (1, 5))
        assert included
        with pytest.raises(PluginError, match="without a token budget"):
            plugin.check(error)
        orphan = Batcher(plugin, ctypes.c_void_p())
        userp = ctypes.c_void_p(1)
        with pytest.raises(PluginError, match="unloaded"):
            orphan.begin(userp)
        assert userp.value is None
