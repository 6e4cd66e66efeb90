"""Parts that need no server: settings, names, pending work, errors, number types."""

import dataclasses
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import qwen3_client
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from qwen3_client import Calibration, ModelInfo, Qwen3ClientError, quantize
from qwen3_serve.gateway import Settings
from qwen3_serve.gateway.errors import STATUS, ApiError, Cause, api_error_for
from qwen3_serve.gateway.names import is_name_of, ollama_name, public_name
from qwen3_serve.gateway.pending import PendingWork
from qwen3_serve.gateway.settings import SettingsError
from qwen3_serve.gateway.vector_types import EmbeddingType, check_type, load_calibration, to_type

INFO = ModelInfo(
    name="embedder",
    source="Qwen/Qwen3-Embedding-0.6B",
    revision="",
    model_family="Qwen3-Embedding",
    model_size="0.6B",
    precision="int8",
    max_tokens=100,
    vocabulary=151669,
    tokenizer="there",
    tokenizer_sha256="0" * 64,
    default_instruction="Find it",
    dimensions=1024,
    eos_token_id=151643,
)


@pytest.mark.parametrize(
    "name",
    [
        "embedder",
        "Qwen/Qwen3-Embedding-0.6B",
        "qwen/qwen3-embedding-0.6b",
        "Qwen3-Embedding-0.6B",
        "accounts/fireworks/models/qwen3-embedding-0.6b",
        "qwen3-embedding",
        "qwen3-embedding:latest",
        "qwen3-embedding:0.6b",
        "text-embedding-3-small",
    ],
)
def test_names_that_mean_the_model(name: str) -> None:
    assert is_name_of(name, INFO, aliases=("Text-Embedding-3-small",))


@pytest.mark.parametrize(
    "name", ["Qwen/Qwen3-Embedding-8B", "qwen3-embedding:8b", "qwen3-embedding:0.6b-q4_K_M", "qwen3-reranker", "/", ""]
)
def test_names_that_mean_another(name: str) -> None:
    assert not is_name_of(name, INFO)


def test_a_name_with_dots_for_its_underscores() -> None:
    info = dataclasses.replace(INFO, name="qwen3_embedding")
    assert is_name_of("qwen3.embedding", info), "as litellm's nvidia_nim/ sends it"
    assert not is_name_of("qwen3.embedding.2", info)


def test_names_that_are_listed() -> None:
    assert (public_name(INFO), ollama_name(INFO)) == ("Qwen/Qwen3-Embedding-0.6B", "qwen3-embedding:0.6b")
    local = dataclasses.replace(INFO, source="/home/someone/checkpoint")
    assert public_name(local) == "embedder", "a path stays private"


def test_settings_survive_the_way_to_a_worker() -> None:
    settings = Settings(api_keys=("a", "b"), model_aliases=("c",), timeout_s=1.5, access_log=False, triton_ca="d")
    assert Settings.from_json(settings.to_json()) == settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"concurrency": 0}, "concurrency must be a positive number"),
        ({"timeout_s": float("inf")}, "timeout_s must be a positive number"),
        ({"max_items": 10_000}, r"max_items is above max_pending_items"),
        ({"api_keys": ("a b",)}, "an API key must be printable"),
    ],
)
def test_settings_that_make_no_sense(changes: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings(**changes)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="does not hold"):
        Settings.from_json('{"nonesuch": 1}')


def test_pending_work_is_bounded_and_released() -> None:
    seen: list[tuple[int, int]] = []
    pending = PendingWork(max_items=10, max_tokens=100, on_change=lambda *now: seen.append(now))
    with pending.reserve(6) as reservation:
        reservation.add_tokens(90)
        with pytest.raises(ApiError) as caught, pending.reserve(5):
            pytest.fail("too many items")
        assert (caught.value.cause, caught.value.retry_after_s) == ("overloaded", 1)
        with pytest.raises(ApiError), pending.reserve(4) as other:
            other.add_tokens(11)
        assert (pending.items, pending.tokens) == (6, 90)
        reservation.record_answer()
    assert (pending.items, pending.tokens) == (0, 0)
    assert max(seen) == (10, 90)
    with pytest.raises(RuntimeError), pending.reserve(10):
        raise RuntimeError
    assert (pending.items, pending.tokens) == (0, 0)


# What each error of the client means to the sender of a request: cause, whether its message is passed on, and when to
# try again.
CLIENT_ERRORS: dict[str, tuple[Cause, bool, int | None]] = {
    "ContractMismatchError": ("unavailable", False, 5),
    "UnknownModelError": ("unavailable", False, 5),
    "EmptyTextError": ("empty", True, None),
    "InferenceError": ("internal", False, None),
    "ModelChangedError": ("unavailable", False, 5),
    "InvalidInputError": ("invalid", True, None),
    "Qwen3ClientError": ("internal", False, None),
    "RefusedError": ("internal", False, None),
    "ServerOverloadedError": ("overloaded", False, 1),
    "ServerTimeoutError": ("timeout", False, None),
    "ServerUnavailableError": ("unavailable", False, 5),
    "TextTooLongError": ("too_long", True, None),
    "TooManyTokensError": ("too_many", True, None),
    "TokenizerUnavailableError": ("internal", False, None),
}


@pytest.mark.parametrize("name", [name for name in qwen3_client.__all__ if name.endswith("Error")])
def test_every_error_of_the_client_becomes_an_api_error(name: str) -> None:
    kind: type[Qwen3ClientError] = getattr(qwen3_client, name)
    error = api_error_for(kind("a host at 10.0.0.1"), request_id="some-id")
    cause, is_passed_on, retry_after_s = CLIENT_ERRORS[name]
    assert (error.cause, error.retry_after_s, error.status) == (cause, retry_after_s, STATUS[cause])
    assert ("10.0.0.1" in error.message) == is_passed_on


def test_every_cause_has_a_status() -> None:
    assert set(STATUS) == set(get_args(Cause))


def unit_vectors(seed: int, n: int, dimensions: int) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(n, dimensions)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


@given(
    st.integers(0, 2**32 - 1), st.sampled_from([32, 40, 64]), st.sampled_from(["int8", "uint8", "binary", "ubinary"])
)
def test_a_type_is_what_the_client_makes_of_it(seed: int, dimensions: int, kind: EmbeddingType) -> None:
    calibration = Calibration.of(unit_vectors(seed, 100, dimensions))
    vectors = unit_vectors(seed + 1, 3, dimensions)
    check_type(kind, dimensions=dimensions, calibration=calibration)
    codes = to_type(vectors, kind, calibration=calibration)
    assert kind != "float"
    expected = quantize(vectors, kind, calibration=calibration)
    assert codes.dtype == expected.dtype
    np.testing.assert_array_equal(codes, expected)
    np.testing.assert_array_equal(to_type(vectors[1:2], kind, calibration=calibration)[0], codes[1])


@pytest.mark.parametrize(
    ("kind", "dimensions", "param", "message"),
    [
        ("binary", 33, "dimensions", "33 dimensions are no multiple of 8"),
        ("int8", 32, "dimensions", "int8 vectors of 40 dimensions only.* not of 32"),
        ("uint8", 64, "dimensions", "uint8 vectors of 40 dimensions only"),
    ],
)
def test_a_type_that_vectors_cannot_have(kind: EmbeddingType, dimensions: int, param: str, message: str) -> None:
    with pytest.raises(ApiError, match=message) as caught:
        check_type(kind, dimensions=dimensions, calibration=Calibration.of(unit_vectors(0, 100, 40)))
    assert (caught.value.cause, caught.value.param) == ("invalid", param)


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_eight_bits_need_a_calibration(kind: EmbeddingType) -> None:
    with pytest.raises(ApiError, match=f"no {kind} vectors, because it was started without --calibration") as caught:
        check_type(kind, dimensions=32, calibration=None)
    assert (caught.value.cause, caught.value.param) == ("invalid", "embedding_type")


def test_a_calibration_is_read_when_the_gateway_starts(tmp_path: Path) -> None:
    calibration = Calibration.of(unit_vectors(0, 100, 40))
    calibration.save(tmp_path / "ranges.npz")
    loaded = load_calibration(str(tmp_path / "ranges.npz"))
    assert loaded is not None
    np.testing.assert_array_equal([loaded.low, loaded.high], [calibration.low, calibration.high])
    assert load_calibration(None) is None
    with pytest.raises(SettingsError, match=r"cannot read the calibration .*nonesuch\.npz: No such file"):
        load_calibration(str(tmp_path / "nonesuch.npz"))
    (tmp_path / "other.npz").write_bytes(b"no calibration")
    with pytest.raises(SettingsError, match=r"cannot use the calibration: .*other\.npz is not a calibration"):
        load_calibration(str(tmp_path / "other.npz"))
