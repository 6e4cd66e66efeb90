"""Vectors in fewer bytes: the laws of each dtype, and what a search still finds."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from qwen3_client import InvalidInputError, similarity
from qwen3_client.quantization import DTYPES, Calibration, Dtype, dequantize, quantize, stored_as
from qwen3_client.vectors import cut

Floats = NDArray[np.float32]

numbers = st.floats(-1, 1, width=32, allow_subnormal=False)


def tables(*, least: int = 1) -> st.SearchStrategy[Floats]:
    shape = st.tuples(st.integers(least, least + 20), st.sampled_from([8, 32, 40]))
    return shape.flatmap(lambda wanted: arrays.arrays(np.float32, wanted, elements=numbers))


def unit_vectors(count: int, dimensions: int, *, seed: int = 0) -> Floats:
    vectors = np.random.default_rng(seed).standard_normal((count, dimensions))
    unit: Floats = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


# Laws.


@given(tables(least=100))
def test_codes_of_calibrated_numbers_are_within_half_a_level(vectors: Floats) -> None:
    calibration = Calibration.of(vectors)
    half = (calibration.high - calibration.low) / 255 / 2
    for dtype in ("int8", "uint8"):
        restored = dequantize(quantize(vectors, dtype, calibration=calibration), dtype, calibration=calibration)
        assert (np.abs(restored - vectors) <= half * 1.001 + 1e-6).all()


@given(tables(least=100), tables())
@example(
    np.full((100, 8), 0, np.float32) + np.eye(100, 8, dtype=np.float32) * np.float32(1.2e-38),
    np.ones((1, 8), np.float32),
)
def test_int8_is_uint8_less_128_and_keeps_order_and_ends(sample: Floats, vectors: Floats) -> None:
    vectors = np.resize(vectors, (len(vectors), sample.shape[1]))
    calibration = Calibration.of(sample)
    unsigned = quantize(vectors, "uint8", calibration=calibration)
    assert unsigned.dtype == np.uint8
    signed = quantize(vectors, "int8", calibration=calibration)
    assert signed.dtype == np.int8
    np.testing.assert_array_equal(signed.astype(int), unsigned.astype(int) - 128)
    order = np.argsort(vectors, axis=0)
    assert (np.diff(np.take_along_axis(unsigned.astype(int), order, axis=0), axis=0) >= 0).all()
    # Outside the range a number becomes its end; it never wraps around.
    varies = calibration.high > calibration.low
    assert (unsigned[(vectors >= calibration.high) & varies] == 255).all()
    assert (unsigned[vectors <= calibration.low] == 0).all()


@given(tables())
def test_packed_bits_are_those_of_numpy(vectors: Floats) -> None:
    packed = quantize(vectors, "ubinary")
    np.testing.assert_array_equal(packed, np.packbits(vectors > 0, axis=1))
    signed = quantize(vectors, "binary")
    assert signed.dtype == np.int8
    np.testing.assert_array_equal(signed.astype(int), packed.astype(int) - 128)


@given(tables())
def test_binary_keeps_the_signs_and_a_norm_of_1(vectors: Floats) -> None:
    for dtype in ("binary", "ubinary"):
        restored = dequantize(quantize(vectors, dtype), dtype)
        np.testing.assert_array_equal(restored > 0, vectors > 0)
        np.testing.assert_allclose(np.linalg.norm(restored, axis=1), 1, rtol=1e-6)


@given(tables(least=100), st.sampled_from(DTYPES))
def test_a_row_is_coded_as_if_it_were_alone(vectors: Floats, dtype: Dtype) -> None:
    calibration = Calibration.of(vectors) if dtype in ("int8", "uint8") else None
    codes = quantize(vectors, dtype, calibration=calibration)
    stored, width = stored_as(dtype, dimensions=vectors.shape[1])
    assert (codes.dtype, codes.shape) == (stored, (len(vectors), width))
    alone = quantize(vectors[3], dtype, calibration=calibration)
    np.testing.assert_array_equal(alone, codes[3])
    np.testing.assert_array_equal(
        dequantize(alone, dtype, calibration=calibration), dequantize(codes, dtype, calibration=calibration)[3]
    )


@given(tables())
def test_floats_are_the_numbers_themselves(vectors: Floats) -> None:
    np.testing.assert_array_equal(dequantize(quantize(vectors, "float32"), "float32"), vectors)
    np.testing.assert_array_equal(quantize(vectors, "float16"), vectors.astype(np.float16))
    np.testing.assert_array_equal(dequantize(vectors.astype(np.float16), "float16"), vectors.astype(np.float16))


def test_a_dimension_that_never_varies_comes_back() -> None:
    vectors = unit_vectors(100, 16)
    vectors[:, 5] = 0.25
    calibration = Calibration.of(vectors)
    codes = quantize(vectors, "int8", calibration=calibration)
    assert (dequantize(codes, "int8", calibration=calibration)[:, 5] == 0.25).all()


def test_nothing_is_changed_in_place() -> None:
    vectors = unit_vectors(100, 16)
    before, calibration = vectors.copy(), Calibration.of(vectors)
    codes = quantize(vectors, "int8", calibration=calibration)
    codes_before = codes.copy()
    dequantize(codes, "int8", calibration=calibration)
    np.testing.assert_array_equal(vectors, before)
    np.testing.assert_array_equal(codes, codes_before)
    with pytest.raises(ValueError, match="read-only"):
        calibration.low[0] = 1


# What a search finds.


def clusters(*, documents: int, queries: int, dimensions: int = 256) -> tuple[Floats, Floats]:
    """Unit vectors around 80 centres; as MRL trains them, the first dimensions matter most."""
    rng = np.random.default_rng(0)
    scale = (1 + np.arange(dimensions)) ** -0.3
    centres = rng.standard_normal((80, dimensions)) * scale

    def draw(count: int) -> Floats:
        vectors = centres[rng.integers(80, size=count)] + rng.standard_normal((count, dimensions)) * scale
        unit: Floats = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        return unit

    return draw(documents), draw(queries)


def best(scores: Floats, count: int) -> NDArray[np.intp]:
    order: NDArray[np.intp] = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return order


def recall(found: NDArray[np.intp], truth: NDArray[np.intp]) -> float:
    return float(np.mean([len(set(ours) & set(true)) / len(true) for ours, true in zip(found, truth, strict=True)]))


@pytest.mark.parametrize(
    ("dimensions", "least"),
    [
        (256, {"float16": 0.99, "int8": 0.97, "uint8": 0.97, "binary": 0.3, "float query": 0.45, "rescored": 0.97}),
        (128, {"float16": 0.99, "int8": 0.97, "uint8": 0.97, "binary": 0.3, "float query": 0.45, "rescored": 0.95}),
        (64, {"float16": 0.99, "int8": 0.97, "uint8": 0.97, "binary": 0.3, "float query": 0.45, "rescored": 0.8}),
    ],
)
def test_recall_at_10_of_cut_and_quantized_vectors(dimensions: int, least: dict[str, float]) -> None:
    full_documents, full_queries = clusters(documents=4000, queries=200)
    documents, queries = (
        np.stack([cut(row, dimensions=dimensions) for row in rows]) for rows in (full_documents, full_queries)
    )
    truth = best(similarity(queries, documents), 10)
    calibration = Calibration.of(documents[:1000])  # a sample, so that some of the others are clipped
    found: dict[str, float] = {}
    for dtype in ("float16", "int8", "uint8", "binary"):
        ranges = calibration if dtype in ("int8", "uint8") else None
        sides = [
            dequantize(quantize(side, dtype, calibration=ranges), dtype, calibration=ranges)
            for side in (queries, documents)
        ]
        found[dtype] = recall(best(similarity(*sides), 10), truth)
    bits = dequantize(quantize(documents, "ubinary"), "ubinary")
    found["float query"] = recall(best(similarity(queries, bits), 10), truth)
    # The usual two steps: a hundred candidates by their bits, put in order by their int8.
    candidates = best(similarity(dequantize(quantize(queries, "binary"), "binary"), bits), 100)
    levels = dequantize(quantize(documents, "int8", calibration=calibration), "int8", calibration=calibration)
    rescored = np.stack(
        [rows[best(similarity(query, levels[rows]), 10)[0]] for query, rows in zip(queries, candidates, strict=True)]
    )
    found["rescored"] = recall(rescored, truth)
    assert {name: value for name, value in found.items() if value < least[name]} == {}, found
    # One bit a number is a first step and no search: a bound that rose above this would be news.
    assert found["binary"] < 0.6


# Calibrations.


def test_a_calibration_is_saved_and_loaded(tmp_path: Path) -> None:
    calibration = Calibration.of(unit_vectors(100, 16))
    calibration.save(tmp_path / "x.calibration.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["x.calibration.npz"]
    loaded = Calibration.load(tmp_path / "x.calibration.npz")
    np.testing.assert_array_equal(loaded.low, calibration.low)
    np.testing.assert_array_equal(loaded.high, calibration.high)
    assert loaded.dimensions == 16


@pytest.mark.parametrize("content", [b"", b"text", "npy", "other", "pickle"])
def test_another_file_is_no_calibration(content: bytes | str, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "npy":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif content == "other":
        np.savez(path, low=np.zeros(3))
    else:
        np.savez(path, low=np.array([None]), high=np.array([None]))
    with pytest.raises(InvalidInputError, match=r"x\.npz is not a calibration"):
        Calibration.load(path)


def test_a_calibration_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Calibration.load(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (np.zeros((99, 8)), "at least 100 vectors"),
        (np.zeros(100), "at least 100 vectors"),
        (np.full((100, 8), np.nan), "finite"),
        (np.zeros((2, 100, 8)), r"must be \[d\] or \[n, d\]"),
    ],
)
def test_what_cannot_calibrate(vectors: Floats, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        Calibration.of(vectors)


@pytest.mark.parametrize(("low", "high"), [([0.0], [1.0, 2.0]), ([1.0], [0.0]), ([np.nan], [1.0]), ([[0.0]], [[1.0]])])
def test_ranges_that_are_none(low: list[float], high: list[float]) -> None:
    with pytest.raises(InvalidInputError, match="a calibration"):
        Calibration(low=np.array(low, np.float32), high=np.array(high, np.float32))


def test_a_calibration_for_other_dimensions_is_refused() -> None:
    vectors = unit_vectors(100, 64)
    calibration = Calibration.of(vectors)
    short = np.stack([cut(row, dimensions=32) for row in vectors])
    for dtype in ("int8", "uint8"):
        with pytest.raises(InvalidInputError, match="for 64 dimensions, the vectors have 32"):
            quantize(short, dtype, calibration=calibration)
        with pytest.raises(InvalidInputError, match="for 64 dimensions, the vectors have 32"):
            dequantize(np.zeros((1, 32), dtype), dtype, calibration=calibration)
        with pytest.raises(InvalidInputError, match=r"calibration=Calibration\.of\(vectors\)"):
            quantize(short, dtype)


@pytest.mark.parametrize(
    ("vectors", "dtype", "said"),
    [
        (np.zeros(8), "int4", "dtype must be one of float32, float16, int8, uint8, binary, ubinary, not 'int4'"),
        (np.zeros((2, 12)), "binary", "12 dimensions are not a multiple of eight"),
        (np.zeros((2, 12)), "ubinary", "12 dimensions are not a multiple of eight"),
        (np.full(8, np.inf), "float16", "finite"),
        (np.zeros((1, 1, 8)), "float32", r"\[d\] or \[n, d\]"),
    ],
)
def test_what_cannot_be_quantized(vectors: Floats, dtype: Dtype, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        quantize(vectors, dtype)


def test_codes_of_another_dtype_are_refused() -> None:
    codes = {dtype: np.zeros((1, 8), stored_as(dtype, dimensions=64)[0]) for dtype in DTYPES}
    for dtype, other in itertools.product(DTYPES, DTYPES):
        if codes[dtype].dtype != codes[other].dtype:
            with pytest.raises(InvalidInputError, match=f"{dtype} vectors are not"):
                dequantize(codes[other], dtype)
