"""How the embedded host cuts a Triton batch into packed batches; the rest of it is tested inside Triton."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qwen3_serve.host.packed_batches import packed_batches


@given(st.lists(st.integers(1, 5000), max_size=64), st.integers(1, 4096), st.floats(1, 10))
def test_laws(lengths: list[int], max_tokens: int, max_slots_per_token: float) -> None:
    batches = packed_batches(lengths, max_tokens=max_tokens, max_slots_per_token=max_slots_per_token)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        tokens = sum(lengths[i] for i in batch)
        longest = max(lengths[i] for i in batch)
        assert len(batch) == 1 or tokens <= max_tokens
        assert longest * len(batch) <= max_slots_per_token * tokens * (1 + 1e-9)


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([8192] + [16] * 31, [list(range(1, 32)), [0]]),
        ([3, 3, 3], [[0, 1, 2]]),
        ([600], [[0]]),
        ([300, 300], [[0], [1]]),
        ([], []),
    ],
)
def test_examples(lengths: list[int], expected: list[list[int]]) -> None:
    assert packed_batches(lengths, max_tokens=512, max_slots_per_token=1.25) == expected


def test_a_batch_has_no_more_texts_than_allowed() -> None:
    batches = packed_batches([1] * 600, max_tokens=10_000, max_slots_per_token=1, max_texts=256)
    assert [len(batch) for batch in batches] == [256, 256, 88]
