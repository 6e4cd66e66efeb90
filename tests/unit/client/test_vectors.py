"""Laws of cutting and of similarity."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from qwen3_client import ContractMismatchError, InferenceError, InvalidInputError, ModelInfo, similarity
from qwen3_client.transports import FakeTransport
from qwen3_client.vectors import checked_dimensions, checked_row, cut


def model_of(dimensions: int, *, mrl_dimensions: str | None = None) -> ModelInfo:
    config = dict(FakeTransport(dimensions=dimensions).configs["qwen3_embedding"])
    if mrl_dimensions is not None:
        config["parameters"] = {**config["parameters"], "mrl_dimensions": {"string_value": mrl_dimensions}}
    return ModelInfo.from_config(config)


def unit_vectors(seed: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal(shape)
    units: NDArray[np.float32] = np.divide(
        vectors, np.linalg.norm(vectors, axis=-1, keepdims=True), dtype=np.float64
    ).astype(np.float32)
    return units


@given(st.integers(0, 2**32), st.integers(32, 1024), st.integers(-44, 0))
def test_a_cut_vector_has_norm_one_and_the_same_direction(seed: int, dimensions: int, exponent: int) -> None:
    vector = unit_vectors(seed, (1024,))
    if dimensions < 1024:
        # However little of the vector's length lies in the part that is kept.
        vector[:dimensions] *= np.float32(10.0**exponent)
        if not vector[:dimensions].any():
            return
    before = vector.copy()
    short = cut(vector, dimensions=dimensions)
    assert short.dtype == np.float32
    assert short.shape == (dimensions,)
    assert abs(np.linalg.norm(short.astype(np.float64)) - 1) < 1e-6
    direction = vector[:dimensions].astype(np.float64)
    np.testing.assert_allclose(short, direction / np.linalg.norm(direction), atol=1e-7)
    np.testing.assert_array_equal(vector, before)


@given(st.integers(0, 2**32), st.integers(32, 64), st.integers(32, 64))
def test_cutting_twice_is_cutting_once(seed: int, a: int, b: int) -> None:
    vector = unit_vectors(seed, (64,))
    twice = cut(cut(vector, dimensions=max(a, b)), dimensions=min(a, b))
    np.testing.assert_allclose(twice, cut(vector, dimensions=min(a, b)), atol=1e-6)


def test_all_dimensions_leave_every_bit() -> None:
    vector = unit_vectors(0, (64,))
    assert cut(vector, dimensions=64).tobytes() == vector.tobytes()


def test_nothing_left_after_the_cut_is_an_error() -> None:
    vector = np.zeros(64, dtype=np.float32)
    vector[63] = 1
    with pytest.raises(InferenceError, match="first 32 components are all zero"):
        cut(vector, dimensions=32)


def test_dimensions_within_the_range_are_taken() -> None:
    info = model_of(1024)
    assert [checked_dimensions(d, info=info) for d in (None, 32, 1024, int(np.int64(64)))] == [1024, 32, 1024, 64]


@pytest.mark.parametrize("dimensions", [0, -1, 31, 1025, True, 64.0, "64"])
def test_other_dimensions_are_refused(dimensions: object) -> None:
    with pytest.raises(InvalidInputError, match="dimensions must be"):
        checked_dimensions(dimensions, info=model_of(1024))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mrl", "allowed", "refused", "reason"),
    [
        (None, [32, 300, 1024], [31, 1025], "from 32 to 1024, not"),
        ("64-512", [64, 100, 512, 1024], [32, 513], "from 64 to 512, or 1024, not"),
        (
            "256,512,1024",
            [256, 512, 1024],
            [300, 32],
            "must be 256, 512 or 1024, the sizes that this model was trained",
        ),
        ("fixed", [1024], [256, 1023], "must be 1024 or left out, not .* nothing says .* trained .* --dimensions"),
    ],
)
def test_a_model_states_to_which_sizes_its_vectors_may_be_cut(
    mrl: str | None, allowed: list[int], refused: list[int], reason: str
) -> None:
    info = model_of(1024, mrl_dimensions=mrl)
    assert [checked_dimensions(size, info=info) for size in allowed] == allowed
    for size in refused:
        with pytest.raises(InvalidInputError, match=reason):
            checked_dimensions(size, info=info)


def test_a_row_is_a_copy_of_the_answer() -> None:
    answer = np.frombuffer(unit_vectors(0, (1, 64)).tobytes(), dtype=np.float32).reshape(1, 64)
    row = checked_row(answer, 0, shape=(1, 64))
    assert row.flags.writeable
    np.testing.assert_array_equal(row, answer[0])


@pytest.mark.parametrize("answer", [np.zeros((1, 63)), np.zeros((2, 64)), np.zeros(64), np.zeros((1, 64))])
def test_another_shape_or_type_is_refused(answer: NDArray[np.float64]) -> None:
    single = answer if answer.shape == (1, 64) else answer.astype(np.float32)
    with pytest.raises(ContractMismatchError, match=r"float32 \[1, 64\]"):
        checked_row(single, 0, shape=(1, 64))  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_refused(value: float) -> None:
    answer = unit_vectors(0, (2, 64))
    answer[1, 5] = value
    with pytest.raises(InferenceError, match="not finite"):
        checked_row(answer, 1, shape=(2, 64))
    np.testing.assert_array_equal(checked_row(answer, 0, shape=(2, 64)), answer[0])


@given(st.integers(0, 2**32), st.integers(0, 5), st.integers(0, 5))
def test_similarity_is_the_table_of_cosines(seed: int, n: int, m: int) -> None:
    a, b = unit_vectors(seed, (n, 64)), unit_vectors(seed + 1, (m, 64))
    table = similarity(a, b)
    assert table.dtype == np.float32
    assert table.shape == (n, m)
    assert np.all(np.abs(table) <= 1 + 1e-6)
    np.testing.assert_allclose(table, similarity(b, a).T, atol=1e-6)
    np.testing.assert_allclose(np.diag(similarity(a, a)), np.ones(n), atol=1e-6)


def test_similarity_takes_single_vectors_and_lists() -> None:
    a = unit_vectors(0, (64,))
    assert similarity(a, a).shape == (1, 1)
    assert similarity(a, [a.tolist()] * 3).shape == (1, 3)


@pytest.mark.parametrize(("a", "b"), [((3, 64), (3, 32)), ((64,), (32,)), ((1, 1, 64), (64,)), ((), (64,))])
def test_similarity_of_other_shapes_is_refused(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInputError, match="encode both sides with the same dimensions"):
        similarity(np.zeros(a), np.zeros(b))
