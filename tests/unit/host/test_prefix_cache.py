"""The prefix cache alone: whatever it hands out belongs to the text's own first tokens."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qwen3_serve.host.prefix_cache import MIN_PREFIX, PrefixCache, common

Ids = npt.NDArray[np.int64]

# Few ids and a few beginnings, so that texts have much in common.
beginnings = st.sampled_from([[], [1] * 8, [1] * 12, [1] * 8 + [2] * 8, [3] * 20])
texts = st.builds(
    lambda head, tail: np.array(head + tail, np.int64),
    beginnings,
    st.lists(st.integers(0, 2), min_size=1, max_size=24),
)


def rows_of(ids: Ids) -> npt.NDArray[np.float32]:
    """Rows that, like a causal model's, say all that came before: the token, and a number of all up to there."""
    so_far = [hash(ids[: i + 1].tobytes()) % 65_521 for i in range(ids.size)]
    return np.stack([ids, so_far], axis=1).astype(np.float32)


@given(st.lists(texts, max_size=40), st.integers(16, 60))
def test_laws(sequence: list[Ids], tokens: int) -> None:
    cache = PrefixCache(tokens=tokens, size=2)
    for ids in sequence:
        prefix = cache.longest(ids)
        assert prefix.length < ids.size
        found = cache.rows_of(prefix)
        np.testing.assert_array_equal(found, rows_of(ids[: prefix.length]))
        shared = cache.remember(ids)
        assert shared == 0 or MIN_PREFIX <= shared < ids.size
        assert shared <= tokens // 2
        if shared >= prefix.length + MIN_PREFIX:
            cache.store(ids[:shared], rows_of(ids[:shared]))
            assert cache.longest(ids).length == shared


@given(st.lists(st.integers(MIN_PREFIX, 30), max_size=30))
def test_rows_stay_right_however_often_the_cache_is_full(sizes: list[int]) -> None:
    cache = PrefixCache(tokens=64, size=2)
    stored = [np.full(size, number) for number, size in enumerate(sizes)]
    for number, ids in enumerate(stored):
        cache.store(ids, rows_of(ids))
        assert cache.longest(np.append(ids, -1)).length == ids.size
        for earlier in stored[:number]:
            prefix = cache.longest(np.append(earlier, -1))
            found = cache.rows_of(prefix)
            np.testing.assert_array_equal(found, rows_of(earlier)[: prefix.length] if prefix.length else found)


@given(st.lists(texts, max_size=80))
def test_it_finds_the_recent_text_that_shares_most(sequence: list[Ids]) -> None:
    cache = PrefixCache(tokens=64, size=2)
    recent: dict[bytes, list[Ids]] = {}
    for ids in sequence:
        if ids.size <= MIN_PREFIX:  # too short to share a prefix
            assert cache.remember(ids) == 0
            continue
        others = recent.setdefault(ids[:MIN_PREFIX].tobytes(), [])
        assert cache.remember(ids) == max((common(other[:32], ids[:-1]) for other in others[-32:]), default=0)
        others.append(ids)


@given(st.lists(texts.filter(lambda ids: ids.size >= MIN_PREFIX), max_size=12), texts)
def test_it_finds_the_prefix_that_shares_most(stored: list[Ids], ids: Ids) -> None:
    cache = PrefixCache(tokens=12 * 44, size=2)  # holds them all
    for prefix in stored:
        cache.store(prefix, rows_of(prefix))
    longest = max((common(prefix, ids[:-1]) for prefix in stored), default=0)
    assert cache.longest(ids).length == (longest if longest >= MIN_PREFIX else 0)


def test_it_sees_what_texts_have_in_common() -> None:
    cache = PrefixCache(tokens=64, size=2)
    instruction = np.arange(20)
    assert cache.remember(np.append(instruction, [90, 91])) == 0, "the first of its kind"
    assert cache.remember(np.append(instruction, [80, 81, 82])) == 20
    assert cache.remember(np.append(instruction[:7], [70, 71])) == 0, "too short to be worth it"
    assert cache.remember(np.append(instruction, [80, 81, 82])) == 22, "its last token is always its own"


def test_new_rows_replace_the_oldest() -> None:
    cache = PrefixCache(tokens=50, size=2)
    first, second, third = (np.full(20, token) for token in range(3))
    for ids in (first, second, third):
        cache.store(ids, rows_of(ids))
    lengths = [cache.longest(np.append(ids, 9)).length for ids in (first, second, third)]
    assert lengths == [0, 20, 20]


def test_what_it_remembers_is_bounded() -> None:
    cache = PrefixCache(tokens=50, size=2)
    for i in range(1000):
        cache.remember(np.arange(i, i + 10))
    assert cache.remember(np.arange(999, 1010)) == 10
    assert cache.remember(np.arange(10)) == 0, "forgotten"


@pytest.mark.parametrize(
    ("one", "other", "expected"), [([], [], 0), ([1], [], 0), ([1, 2], [1, 2, 3], 2), ([1, 2, 3], [1, 3, 3], 1)]
)
def test_common(one: list[int], other: list[int], expected: int) -> None:
    assert common(np.array(one, np.int64), np.array(other, np.int64)) == expected
