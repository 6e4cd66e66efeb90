"""Equalisation changes what lies between, and nothing that float32 computes."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from qwen3_export import export
from qwen3_export.checkpoint.checkpoint import open_checkpoint
from qwen3_export.checkpoint.equalise import equalise
from qwen3_export.graph.arithmetic import Arithmetic
from qwen3_export.graph.onnx_file import build_graph, write_model
from qwen3_export.precision import QUANTIZED, Precision
from support.checkpoints import Shape, make_checkpoint, make_checkpoint_with_outliers
from support.oracle import random_texts, reference_embeddings
from support.packed import PackedSession


@pytest.mark.parametrize("shape", [Shape(dtype="float32"), Shape(dtype="float32", heads=6, kv_heads=2)], ids=str)
def test_float32_computes_the_same(tmp_path: Path, shape: Shape) -> None:
    checkpoint = open_checkpoint(str(make_checkpoint_with_outliers(tmp_path, shape)))
    texts = random_texts([1, 7, 33, 100])
    feed = {"input_ids": np.concatenate(texts), "lengths": np.array([[t.size] for t in texts], np.int32)}
    rows = []
    for name, weights in (("plain", checkpoint), ("equalised", equalise(checkpoint))):
        path = tmp_path / f"{name}.onnx"
        write_model(build_graph(weights, Arithmetic("fp32")), path)
        rows.append(ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, feed)[0])
    # Powers of two commute with rounding, so not even the last bit may differ.
    np.testing.assert_array_equal(rows[0], rows[1])


@pytest.mark.parametrize("precision", QUANTIZED)
def test_outliers_cost_no_fidelity(tmp_path: Path, precision: Precision) -> None:
    texts = random_texts([1, 7, 33, 100])
    cosines = []
    for name, checkpoint in (
        ("plain", make_checkpoint(tmp_path / "plain", Shape(dtype="float32"))),
        ("outliers", make_checkpoint_with_outliers(tmp_path / "outliers", Shape(dtype="float32"))),
    ):
        directory = export(
            str(checkpoint), repository=tmp_path / "repository", name=name, precision=precision
        ).directory
        rows = PackedSession(directory).embed(texts)
        cosines.append((rows * reference_embeddings(checkpoint, texts)).sum(axis=1).min())
    assert cosines[1] >= cosines[0] - (0.06 if precision == "int4-weight" else 0.02)
