"""The graph with ragged attention: as close to transformers as that with padded attention, the same in any batch."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from qwen3_export import export
from qwen3_export.cpu import is_ragged, open_session
from qwen3_export.precision import FOR_CUDA, PRECISIONS, Precision
from support.checkpoints import Shape, make_checkpoint
from support.oracle import Ids, random_texts, reference_embeddings, reference_logits
from support.packed import PackedSession

YES, NO = 258, 259  # of the byte tokenizer
ON_CPU: list[Precision] = [precision for precision in PRECISIONS if precision not in FOR_CUDA]
# Blocks of 128 keys, panels of 16 to 64 of them, and a row past each.
LENGTHS = [1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129, 256, 257, 300, 300, 450]
SHAPES = {
    "heads of 32, groups of 2": Shape(),
    "heads of 48, groups of 1": Shape(hidden=80, intermediate=104, heads=3, kv_heads=3, head_dim=48),
    "heads of 64, groups of 4": Shape(heads=8, kv_heads=2, head_dim=64),
    "heads of 128, one for all": Shape(heads=6, kv_heads=1, head_dim=128),
    "heads of 16, groups of 8": Shape(heads=16, kv_heads=2, head_dim=16),
}
# What bfloat16 in attention may add to the errors of quantized products. Measured: up to 9% for embeddings, and 24% for
# rerankers, whose mean is over one number per text.
MOST_ERROR = 1.2
MOST_LOGIT_ERROR = 1.5


def sessions(directory: Path) -> tuple[PackedSession, PackedSession]:
    """Sessions on the graph with ragged attention, and on that with padded attention."""
    ragged, padded = PackedSession(directory), PackedSession(directory, portable=True)
    assert (is_ragged(ragged.session), is_ragged(padded.session)) == (True, False)
    return ragged, padded


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("precision", ON_CPU)
def test_embeddings(tmp_path: Path, precision: Precision, shape: Shape) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", shape)
    ragged, padded = sessions(export(str(checkpoint), repository=tmp_path, precision=precision).directory)
    texts = random_texts(LENGTHS)
    rows, other = ragged.embed(texts), padded.embed(texts)
    reference = reference_embeddings(checkpoint, texts)
    if precision == "fp32":
        np.testing.assert_allclose(rows, reference, atol=1e-5)
        np.testing.assert_allclose(rows, other, atol=2e-6)
    errors = [1 - (each * reference).sum(axis=1).mean() for each in (rows, other)]
    assert errors[0] < MOST_ERROR * errors[1] + 1e-6


@pytest.mark.parametrize("precision", ON_CPU)
def test_reranker(tmp_path: Path, precision: Precision) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", Shape())
    directory = export(str(checkpoint), repository=tmp_path, kind="reranker", precision=precision).directory
    ragged, padded = sessions(directory)
    texts = random_texts(LENGTHS)
    reference = reference_logits(checkpoint, texts, yes=YES, no=NO)
    errors = [np.abs(each.run(texts)["logit"][:, 0] - reference).mean() for each in (ragged, padded)]
    assert errors[0] < MOST_LOGIT_ERROR * errors[1] + 1e-5


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("precision", ON_CPU)
def test_a_text_has_the_same_bits_in_every_batch(tmp_path: Path, precision: Precision, threads: int) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", Shape())
    model = export(str(checkpoint), repository=tmp_path, precision=precision).directory / "1" / "model.onnx"
    session, one_thread = (open_session(model, threads=number) for number in (threads, 1))
    texts = random_texts(LENGTHS)
    alone = [one_thread.run(["embedding"], feed([ids]))[0][0] for ids in texts]
    random = np.random.default_rng(0)
    for size in (2, 3, 7, len(texts), len(texts)):
        batch = random.permutation(len(texts))[:size]
        (rows,) = session.run(["embedding"], feed([texts[index] for index in batch]))
        for index, row in zip(batch, rows, strict=True):
            np.testing.assert_array_equal(row, alone[index])
    (rows,) = session.run(["embedding"], feed([texts[9]] * 5))
    np.testing.assert_array_equal(rows, [alone[9]] * 5)


def feed(texts: list[Ids]) -> dict[str, npt.NDArray[np.generic]]:
    return {"input_ids": np.concatenate(texts), "lengths": np.array([[ids.size] for ids in texts], np.int32)}
