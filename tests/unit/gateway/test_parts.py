"""Parts that need no server: settings, names, admission, number types."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qwen3_client import ModelInfo
from qwen3_serve.gateway import Settings
from qwen3_serve.gateway.admission import Admission
from qwen3_serve.gateway.errors import Failure
from qwen3_serve.gateway.names import means, ollama_name, public_name
from qwen3_serve.gateway.settings import SettingsError
from qwen3_serve.gateway.vector_types import as_type

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
    assert means(name, INFO, aliases=("Text-Embedding-3-small",))


@pytest.mark.parametrize(
    "name", ["Qwen/Qwen3-Embedding-8B", "qwen3-embedding:8b", "qwen3-embedding:0.6b-q4_K_M", "qwen3-reranker", "/", ""]
)
def test_names_that_mean_another(name: str) -> None:
    assert not means(name, INFO)


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


def test_admission_is_bounded_and_given_back() -> None:
    seen: list[tuple[int, int]] = []
    admission = Admission(max_items=10, max_tokens=100, watch=lambda *now: seen.append(now))
    with admission.admit(6) as ticket:
        ticket.add_tokens(90)
        with pytest.raises(Failure) as caught, admission.admit(5):
            pytest.fail("too many items")
        assert (caught.value.cause, caught.value.retry_after_s) == ("overloaded", 1)
        with pytest.raises(Failure), admission.admit(4) as other:
            other.add_tokens(11)
        assert (admission.items, admission.tokens) == (6, 90)
        ticket.answered()
    assert (admission.items, admission.tokens) == (0, 0)
    assert max(seen) == (10, 90)
    with pytest.raises(RuntimeError), admission.admit(10):
        raise RuntimeError
    assert (admission.items, admission.tokens) == (0, 0)


@given(st.integers(0, 2**32 - 1), st.sampled_from([32, 40, 1024]))
def test_int8_is_within_half_a_step_and_independent_of_the_batch(seed: int, dimensions: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(3, dimensions)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    codes = as_type(vectors, "int8")
    step = np.abs(vectors).max(axis=1, keepdims=True) / 127
    assert np.abs(codes * step - vectors).max() <= step.max() * 0.501
    np.testing.assert_array_equal(as_type(vectors[1:2], "int8")[0], codes[1])
    np.testing.assert_array_equal(as_type(vectors, "uint8").astype(int) - 128, codes)
