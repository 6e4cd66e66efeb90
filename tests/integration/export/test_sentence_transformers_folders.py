"""Folders that sentence-transformers saved: the exported graph computes what sentence-transformers computes."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from qwen3_export import ExportError, export
from qwen3_export.precision import FOR_CUDA, PRECISIONS, Precision
from qwen3_export.target import Attention, Device
from support.oracle import Ids, Vectors, random_texts
from support.packed import PackedSession
from support.sentence_transformers_folders import library_vectors, make_folder
from torch import nn

LENGTHS = [1, 2, 3, 7, 7, 16, 33, 100, 257, 300]
ON_CPU: list[Precision] = [precision for precision in PRECISIONS if precision not in FOR_CUDA]
# Smallest cosine on a tiny random model, which amplifies rounding.
COSINE: dict[Precision, float] = {"fp32": 0.999999, "int8": 0.99, "int8-weight": 0.99, "int4-weight": 0.9}


def exported_session(folder: Path, repository: Path, precision: Precision = "fp32") -> PackedSession:
    return PackedSession(export(str(folder), repository=repository, precision=precision).directory)


def assert_each_equals_itself_alone(session: PackedSession, texts: list[Ids], together: Vectors) -> None:
    for ids, row in zip(texts, together, strict=True):
        np.testing.assert_array_equal(session.embed([ids])[0], row)


def test_a_folder_as_the_library_saves_it_today(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    texts = random_texts(LENGTHS)
    together = exported_session(folder, tmp_path).embed(texts)
    np.testing.assert_allclose(together, library_vectors(folder, texts), atol=2e-6)


@pytest.mark.parametrize("precision", ON_CPU)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_dense_layers_are_part_of_the_graph(tmp_path: Path, precision: Precision, dtype: torch.dtype) -> None:
    folder = make_folder(
        tmp_path / "model", dense=[(48, nn.Tanh(), True), (24, nn.Identity(), False)], normalize=True, dtype=dtype
    )
    texts = random_texts(LENGTHS)
    exported = export(str(folder), repository=tmp_path, precision=precision)
    assert exported.dimensions == 24
    session = PackedSession(exported.directory)
    together = session.embed(texts)
    assert together.shape == (len(texts), 24)
    expected = library_vectors(folder, texts)
    assert (together * expected).sum(axis=1).min() >= COSINE[precision]
    assert_each_equals_itself_alone(session, texts, together)


@pytest.mark.parametrize(
    "activation", [nn.Identity(), nn.Tanh(), nn.ReLU(), nn.GELU(), nn.Sigmoid(), nn.SiLU()], ids=str
)
def test_every_activation_is_that_of_torch(tmp_path: Path, activation: nn.Module) -> None:
    folder = make_folder(tmp_path / "model", dense=[(37, activation, True)], normalize=False)
    texts = random_texts(LENGTHS)
    session = exported_session(folder, tmp_path)
    together = session.embed(texts)
    np.testing.assert_allclose(together, library_vectors(folder, texts), atol=2e-5)
    assert_each_equals_itself_alone(session, texts, together)


def test_without_normalize_vectors_keep_their_norm(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model", normalize=False)
    texts = random_texts(LENGTHS)
    exported = export(str(folder), repository=tmp_path)
    vectors = PackedSession(exported.directory).embed(texts)
    np.testing.assert_allclose(vectors, library_vectors(folder, texts), atol=2e-5)
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).min() > 0.1
    for config in ("config.pbtxt", "configs/embedded.pbtxt"):
        assert 'key: "normalized"' in (exported.directory / config).read_text()


@pytest.mark.parametrize("precision", ON_CPU)
@pytest.mark.parametrize("pooling", ["lasttoken", "mean", "cls"])
@pytest.mark.parametrize("is_causal", [True, False], ids=["causal", "full"])
def test_attention_and_pooling_are_those_of_the_folder(
    tmp_path: Path, precision: Precision, pooling: str, *, is_causal: bool
) -> None:
    folder = make_folder(tmp_path / "model", pooling=pooling, is_causal=is_causal)
    texts = random_texts(LENGTHS)
    session = exported_session(folder, tmp_path, precision)
    together = session.embed(texts)
    expected = library_vectors(folder, texts)
    assert (together * expected).sum(axis=1).min() >= COSINE[precision]
    assert_each_equals_itself_alone(session, texts, together)


def test_both_names_of_full_attention_mean_the_same(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model", pooling="mean", is_causal=False)
    texts = random_texts(LENGTHS)
    expected = exported_session(folder, tmp_path / "first").embed(texts)
    config = json.loads((folder / "config.json").read_text())
    del config["is_causal"]
    (folder / "config.json").write_text(json.dumps(config | {"use_bidirectional_attention": True}))
    np.testing.assert_array_equal(exported_session(folder, tmp_path / "second").embed(texts), expected)


@pytest.mark.parametrize("precision", ON_CPU)
@pytest.mark.parametrize("pooling", ["lasttoken", "mean", "cls"])
def test_a_bad_text_fails_alone_with_full_attention(tmp_path: Path, precision: Precision, pooling: str) -> None:
    folder = make_folder(tmp_path / "model", pooling=pooling, is_causal=False)
    session = exported_session(folder, tmp_path, precision)
    good = random_texts([5, 40, 1])
    unknown, empty, long = np.array([3, 99_999]), np.zeros(0, np.int64), np.zeros(2049, np.int64)
    rows = session.embed([good[0], unknown, good[1], empty, long, good[2]])
    assert np.isnan(rows[[1, 3, 4]]).all()
    for ids, row in zip(good, rows[[0, 2, 5]], strict=True):
        np.testing.assert_array_equal(session.embed([ids])[0], row)


@pytest.mark.parametrize(("pooling", "is_causal"), [("mean", True), ("cls", True), ("lasttoken", False)])
def test_prefixes_are_shared_where_they_do_not_depend_on_the_rest_alone(
    tmp_path: Path, pooling: str, *, is_causal: bool
) -> None:
    folder = make_folder(tmp_path / "model", pooling=pooling, is_causal=is_causal)
    session = exported_session(folder, tmp_path).session
    assert [value.name for value in session.get_inputs()] == ["input_ids", "lengths"]
    assert not session.get_overridable_initializers()
    assert [value.name for value in session.get_outputs()] == ["embedding", "fingerprint"]


@pytest.mark.parametrize("attention", ["paged", "gqa"])
def test_full_attention_is_refused_where_only_causal_operators_are(tmp_path: Path, attention: Attention) -> None:
    folder = make_folder(tmp_path / "model", pooling="mean", is_causal=False)
    with pytest.raises(ExportError, match="full attention, not causal attention, which --device cuda does not support"):
        export(str(folder), repository=tmp_path, device="cuda", attention=attention)


def test_full_attention_needs_a_pooling(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model", pooling="mean", is_causal=False)
    (folder / "modules.json").unlink()
    (folder / "1_Pooling" / "config.json").unlink()
    with pytest.raises(ExportError, match=r"no modules.json that says how its tokens are pooled"):
        export(str(folder), repository=tmp_path)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_tensorrt_has_last_token_pooling_alone(tmp_path: Path, pooling: str) -> None:
    folder = make_folder(tmp_path / "model", pooling=pooling)
    with pytest.raises(ExportError, match=r"more than last-token pooling and Normalize, which --device tensorrt"):
        export(str(folder), repository=tmp_path, device="tensorrt")


@pytest.mark.parametrize(("device", "is_causal"), [("cpu", True), ("cpu", False), ("cuda", True)])
def test_graphs_with_loops_are_valid(tmp_path: Path, device: Device, *, is_causal: bool) -> None:
    folder = make_folder(tmp_path / "model", pooling="mean", dense=[(32, nn.Tanh(), True)], is_causal=is_causal)
    exported = export(str(folder), repository=tmp_path, device=device)
    onnx.checker.check_model(str(exported.directory / "1" / "model.onnx"), full_check=True)
