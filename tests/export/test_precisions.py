"""Every precision: close to transformers, the same in any batch, and made of what it promises."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from qwen3_export import export
from qwen3_export._checkpoint import open_checkpoint
from qwen3_export._graph import build_graph, write_model
from qwen3_export._model import Arithmetic
from qwen3_export._precision import FOR_CUDA, PRECISIONS, Precision
from qwen3_export._products import HALF
from qwen3_serve import ServeError, Triton
from support.checkpoints import Shape, make_checkpoint
from support.oracle import random_texts, reference_embeddings
from support.packed import PackedSession

LENGTHS = [1, 2, 3, 7, 7, 16, 33, 100, 257, 300]
ON_CPU: list[Precision] = [precision for precision in PRECISIONS if precision not in FOR_CUDA]
# Smallest cosine on a tiny random model, which amplifies rounding.
COSINE: dict[Precision, float] = {"fp32": 0.999999, "int8": 0.99, "int8-weight": 0.99, "int4-weight": 0.9}


@pytest.mark.parametrize("shape", [Shape(), Shape(hidden=80, intermediate=104, head_dim=48)], ids=["blocks fit", "odd"])
@pytest.mark.parametrize("precision", ON_CPU)
def test_cpu_precisions_stay_close_and_batch_invariant(tmp_path: Path, precision: Precision, shape: Shape) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", shape)
    session = PackedSession(export(str(checkpoint), repository=tmp_path, precision=precision).directory)
    texts = random_texts(LENGTHS)
    together = session.embed(texts)
    assert (together * reference_embeddings(checkpoint, texts)).sum(axis=1).min() >= COSINE[precision]
    for ids, row in zip(texts, together, strict=True):
        np.testing.assert_array_equal(session.embed([ids])[0], row)


def test_fewer_bits_make_smaller_files(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", Shape(hidden=256, layers=4, intermediate=1024))
    sizes = [
        export(str(checkpoint), repository=tmp_path, name=precision, precision=precision).bytes
        for precision in ("int4-weight", "int8", "int8-weight", "fp32")  # 4.5 + 1, 8, 9 and 32 bits a weight
    ]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("kind", ["embedding", "reranker"])
@pytest.mark.parametrize("precision", FOR_CUDA)
def test_half_graphs_keep_the_residual_stream_and_norms_in_float32(
    tmp_path: Path, precision: Precision, kind: str
) -> None:
    """Their kernels need CUDA, so here: the checker, and the type of every value that matters."""
    directory = export("tiny", repository=tmp_path, precision=precision, kind=kind).directory  # type: ignore[arg-type]
    path = directory / "1" / "model.onnx"
    onnx.checker.check_model(str(path), full_check=True)
    model = ir.load(path)
    half = HALF[precision]
    seen: dict[str, int] = {}
    for node in model.graph:
        seen[node.op_type] = seen.get(node.op_type, 0) + 1
        types = [value.dtype for value in node.inputs if value is not None]
        if node.op_type in ("RMSNormalization", "SkipSimplifiedLayerNormalization", "Sigmoid", "ReduceL2"):
            assert half not in types, node.name
        if node.op_type == "MatMul" and "yes_no" not in str(node.inputs[1]):
            producer = node.inputs[0].producer()  # type: ignore[union-attr]
            assert producer is not None
            assert producer.op_type == "Cast"
            assert node.inputs[1].dtype == half  # type: ignore[union-attr]
            assert [use.node.op_type for use in node.outputs[0].uses()] == ["Cast"]
        if node.op_type == "GroupQueryAttention":
            for value in node.inputs[:3]:
                source = value.producer().inputs[0].producer()  # type: ignore[union-attr]
                assert source.op_type == "Cast"  # type: ignore[union-attr]
    assert seen["GroupQueryAttention"] == 2
    assert seen["MatMul"] >= 8
    for output in model.graph.outputs:
        assert output.dtype == ir.DataType.FLOAT
    config = (directory / "config.pbtxt").read_text()
    assert "KIND_GPU" in config
    assert not (directory / "configs").exists(), "the embedded host has no kernels for it"


@pytest.mark.parametrize(("precision", "cosine"), [("bf16", 0.999), ("fp16", 0.99999)])
def test_the_cpu_twin_of_a_half_graph_matches_transformers(tmp_path: Path, precision: Precision, cosine: float) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", Shape())
    twin = build_graph(open_checkpoint(str(checkpoint)), Arithmetic(precision, emulated=True))
    write_model(twin, tmp_path / "twin.onnx", progress=lambda _: None)
    session = ort.InferenceSession(str(tmp_path / "twin.onnx"), providers=["CPUExecutionProvider"])
    texts = random_texts(LENGTHS)
    (rows,) = session.run(
        None, {"input_ids": np.concatenate(texts), "lengths": np.array([[t.size] for t in texts], np.int32)}
    )
    reference = reference_embeddings(checkpoint, texts)
    assert (rows * reference).sum(axis=1).min() >= cosine
    assert np.abs(rows - reference).max() > 1e-6, "nothing was rounded"


def test_serve_says_when_a_model_is_for_cuda(tmp_path: Path) -> None:
    export("tiny", repository=tmp_path, precision="bf16")
    with pytest.raises(ServeError, match="exported for CUDA"):
        Triton(tmp_path).__enter__()
