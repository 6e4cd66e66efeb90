"""How the padding front divides a Triton batch into padded groups; the rest of it is tested inside Triton."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.host import load_padding_front

padding_front: Any = load_padding_front()


@given(st.lists(st.integers(1, 5000), max_size=64), st.integers(1, 40), st.integers(1, 20_000), st.floats(1, 10))
def test_laws(lengths: list[int], texts: int, positions: int, positions_per_token: float) -> None:
    groups = padding_front.padded_groups(
        lengths, padding_front.Limits(texts=texts, positions=positions, positions_per_token=positions_per_token)
    )
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        used = max(lengths[i] for i in group) * len(group)
        assert 1 <= len(group) <= texts
        assert len(group) == 1 or used <= positions
        assert used <= positions_per_token * sum(lengths[i] for i in group) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([8192] + [16] * 31, [list(range(1, 32)), [0]]),
        ([3, 3, 3], [[0, 1, 2]]),
        ([600], [[0]]),
        ([300, 300], [[0], [1]]),
        ([4] * 40, [list(range(32)), list(range(32, 40))]),
        ([], []),
    ],
)
def test_examples(lengths: list[int], expected: list[list[int]]) -> None:
    assert (
        padding_front.padded_groups(lengths, padding_front.Limits(texts=32, positions=512, positions_per_token=1.25))
        == expected
    )


def test_padding_goes_to_the_right() -> None:
    input_ids, attention_mask = padding_front.padded([np.array([7], np.int64), np.array([8, 9, 10], np.int64)])
    assert input_ids.dtype == attention_mask.dtype == np.int64
    assert input_ids.tolist() == [[7, 0, 0], [8, 9, 10]]
    assert attention_mask.tolist() == [[1, 0, 0], [1, 1, 1]]
