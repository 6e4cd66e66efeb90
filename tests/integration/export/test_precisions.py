"""Every precision for CPUs: close to transformers, the same in any batch, and as small as it promises."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from qwen3_export import export
from qwen3_export.precision import FOR_CUDA, PRECISIONS, Precision
from support.checkpoints import Shape, make_checkpoint
from support.oracle import random_texts, reference_embeddings
from support.packed import PackedSession

LENGTHS = [1, 2, 3, 7, 7, 16, 33, 100, 257, 300]
ON_CPU: list[Precision] = [precision for precision in PRECISIONS if precision not in FOR_CUDA]
# Smallest cosine on a tiny random model, which amplifies rounding.
COSINE: dict[Precision, float] = {"fp32": 0.999999, "int8": 0.99, "int8-weight": 0.99, "int4-weight": 0.9}


@pytest.mark.parametrize("shape", [Shape(), Shape(hidden=80, intermediate=104, head_dim=48)], ids=["blocks fit", "odd"])
@pytest.mark.parametrize("precision", ON_CPU)
@pytest.mark.parametrize("portable", [False, True])
def test_cpu_precisions_stay_close_and_batch_invariant(
    tmp_path: Path, precision: Precision, shape: Shape, *, portable: bool
) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", shape)
    directory = export(str(checkpoint), repository=tmp_path, precision=precision).directory
    session = PackedSession(directory, portable=portable)
    texts = random_texts(LENGTHS)
    together = session.embed(texts)
    assert (together * reference_embeddings(checkpoint, texts)).sum(axis=1).min() >= COSINE[precision]
    for ids, row in zip(texts, together, strict=True):
        np.testing.assert_array_equal(session.embed([ids])[0], row)


@pytest.mark.parametrize("precision", ON_CPU)
def test_attention_frees_what_a_cache_would_keep(tmp_path: Path, precision: Precision) -> None:
    """An output that ONNX Runtime thinks nobody reads lives until the end of the run, in every layer."""
    checkpoint = make_checkpoint(tmp_path / "checkpoint", Shape(layers=3))
    exported = export(str(checkpoint), repository=tmp_path, precision=precision).directory / "1" / "model.onnx"
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    ort.InferenceSession(str(exported), options, providers=["CPUExecutionProvider"])
    optimised = ir.load(tmp_path / "optimised.onnx").graph
    attentions = [node for node in optimised if node.op_type == "GroupQueryAttention"]
    assert len(attentions) == 3
    for node in attentions:
        assert [bool(output.consumers()) for output in node.outputs] == [True, True, True]


def test_fewer_bits_make_smaller_files(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", Shape(hidden=256, layers=4, intermediate=1024))
    sizes = [
        export(str(checkpoint), repository=tmp_path, name=precision, precision=precision).bytes
        for precision in ("int4-weight", "int8", "int8-weight", "fp32")  # 4.5 + 1, 8, 9 and 32 bits a weight
    ]
    assert sizes == sorted(sizes)
