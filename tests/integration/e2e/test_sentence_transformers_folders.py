"""Folders that sentence-transformers saved, from text to vector through a real Triton."""

from pathlib import Path

import numpy as np
import pytest
import torch
from qwen3_client import Client
from qwen3_client.integrations import sentence_transformers as integrations
from qwen3_export import export
from qwen3_export.precision import Precision
from qwen3_serve import Triton
from sentence_transformers import SentenceTransformer
from support.sentence_transformers_folders import make_folder
from torch import nn

TEXTS = ["The capital of China is Beijing.", "重力", "x", "a longer text " * 30, "The capital of China", "The capital"]


@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.999999), ("int8", 0.99)])
def test_full_attention_mean_pooling_and_dense_layers(tmp_path: Path, precision: Precision, least: float) -> None:
    folder = make_folder(
        tmp_path / "model", pooling="mean", dense=[(96, nn.GELU(), True), (32, nn.Identity(), False)], is_causal=False
    )
    export(str(folder), repository=tmp_path / "repository", precision=precision)
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32}).float()
    expected = np.asarray(model.encode(TEXTS))
    with Triton(tmp_path / "repository", threads=1) as triton, Client(triton.grpc_url) as client:
        assert client.info().dimensions == 32
        rows = client.encode_document(TEXTS)
        alone = [client.encode_document(text) for text in TEXTS]
    assert (rows * expected).sum(axis=1).min() >= least
    np.testing.assert_array_equal(rows, np.stack(alone))


def test_a_model_without_normalize_is_served_as_it_is(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model", normalize=False)
    export(str(folder), repository=tmp_path / "repository", dimensions="32-64")
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32}).float()
    expected = np.asarray(model.encode(TEXTS))
    cut = model.encode(TEXTS, truncate_dim=40)
    unit, cut_unit = (model.encode(TEXTS, normalize_embeddings=True, truncate_dim=size) for size in (None, 40))
    with Triton(tmp_path / "repository", threads=1) as triton, Client(triton.grpc_url) as client:
        assert not client.info().is_normalized
        rows = client.encode_document(TEXTS)
        np.testing.assert_allclose(client.encode_document(TEXTS, dimensions=40), cut, atol=2e-5)
        remote = integrations.SentenceTransformer(client=client)
        np.testing.assert_allclose(remote.encode(TEXTS, truncate_dim=40), cut, atol=2e-5)
        np.testing.assert_allclose(remote.encode(TEXTS, normalize_embeddings=True), unit, atol=2e-5)
        found = remote.encode(TEXTS, normalize_embeddings=True, truncate_dim=40)
        np.testing.assert_allclose(found, cut_unit, atol=2e-5)
    np.testing.assert_allclose(rows, expected, atol=2e-5)
    assert np.abs(np.linalg.norm(rows, axis=1) - 1).min() > 0.1
