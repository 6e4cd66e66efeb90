"""Folders that sentence-transformers saved: the exported graph computes what sentence-transformers computes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from qwen3_export import export
from qwen3_export.precision import FOR_CUDA, PRECISIONS, Precision
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
