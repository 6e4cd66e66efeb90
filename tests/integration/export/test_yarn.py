"""Positions scaled by YaRN: the exported graph computes what transformers computes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qwen3_export import ExportError, export
from qwen3_export.checkpoint.geometry import Geometry
from qwen3_export.checkpoint.json_file import read_object
from support.checkpoints import Shape, make_checkpoint
from support.cross_encoders import edit_json
from support.oracle import random_texts, reference_embeddings
from support.packed import PackedSession
from support.sentence_transformers_folders import library_vectors, make_folder
from transformers import Qwen3Config
from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

TEXTS = random_texts([1, 2, 7, 33, 100, 257, 600])
ORIGINAL = {"original_max_position_embeddings": 64}


def scale(folder: Path, **rope: Any) -> Path:  # noqa: ANN401
    """Ask for YaRN in a checkpoint's config.json, in the form of transformers 5."""
    parameters = {"rope_type": "yarn", "rope_theta": 1_000_000.0, "factor": 4.0, **ORIGINAL, **rope}
    edit_json(folder / "config.json", rope_parameters=parameters)
    return folder


@pytest.mark.parametrize(
    "rope",
    [
        {},
        {"factor": 2.5, "original_max_position_embeddings": 100},
        {"attention_factor": 0.7},
        {"beta_fast": 16, "beta_slow": 2.0},
        {"truncate": False},
        {"mscale": 0.8, "mscale_all_dim": 0.3},
        {"factor": 1.0},
    ],
    ids=str,
)
def test_it_equals_transformers(tmp_path: Path, rope: dict[str, Any]) -> None:
    plain = make_checkpoint(tmp_path / "plain", Shape(dtype="float32"))
    unscaled = reference_embeddings(plain, TEXTS)
    folder = scale(plain, **rope)
    expected = reference_embeddings(folder, TEXTS)
    vectors = PackedSession(export(str(folder), repository=tmp_path).directory).embed(TEXTS)
    np.testing.assert_allclose(vectors, expected, atol=3e-6)
    if rope.get("factor") != 1.0:
        assert np.abs(unscaled - expected).max() > 1e-3, "the scaling changes nothing"


def test_the_frequencies_are_those_of_transformers(tmp_path: Path) -> None:
    """Of the published sizes, at which Qwen recommends a factor of 4 over 32,768 tokens."""
    config = read_object(scale(make_checkpoint(tmp_path, Shape())) / "config.json") | {"head_dim": 128}
    config["rope_parameters"] |= {"original_max_position_embeddings": 32_768}
    theirs = Qwen3RotaryEmbedding(Qwen3Config(**config))
    rope = Geometry.from_config(config).rope
    np.testing.assert_allclose(rope.frequencies(128), theirs.inv_freq.numpy(), rtol=3e-7)
    assert rope.attention_factor == pytest.approx(theirs.attention_scaling, rel=1e-12)


def test_the_older_form_is_the_same(tmp_path: Path) -> None:
    folder = scale(make_checkpoint(tmp_path / "model", Shape(dtype="float32")))
    expected = reference_embeddings(folder, TEXTS)
    older = {"type": "yarn", "factor": 4.0, **ORIGINAL}
    edit_json(folder / "config.json", rope_parameters=None, rope_scaling=older, rope_theta=1_000_000.0)
    np.testing.assert_allclose(reference_embeddings(folder, TEXTS), expected, atol=1e-7)
    vectors = PackedSession(export(str(folder), repository=tmp_path).directory).embed(TEXTS)
    np.testing.assert_allclose(vectors, expected, atol=3e-6)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_text_keeps_its_bits_with_full_attention(tmp_path: Path, precision: Any) -> None:  # noqa: ANN401
    folder = scale(make_folder(tmp_path / "model", pooling="mean", is_causal=False))
    session = PackedSession(export(str(folder), repository=tmp_path, precision=precision).directory)
    together = session.embed(TEXTS)
    assert (together * library_vectors(folder, TEXTS)).sum(axis=1).min() > 0.99
    for ids, row in zip(TEXTS, together, strict=True):
        np.testing.assert_array_equal(session.embed([ids])[0], row)


def test_tensorrt_is_refused(tmp_path: Path) -> None:
    folder = scale(make_checkpoint(tmp_path / "model", Shape()))
    with pytest.raises(ExportError, match=r"scaled by yarn, which --device tensorrt does not support"):
        export(str(folder), repository=tmp_path, device="tensorrt")
