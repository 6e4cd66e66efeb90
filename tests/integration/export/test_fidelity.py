"""The packed graph computes what transformers computes, alone and in any batch."""

from pathlib import Path

import numpy as np
import pytest
from qwen3_export import export
from support.checkpoints import Shape, make_checkpoint
from support.oracle import random_texts, reference_embeddings
from support.packed import PackedSession

LENGTHS = [1, 2, 3, 7, 7, 7, 16, 33, 100, 257, 513]

SHAPES = {
    "grouped heads, heads x head_dim != hidden": Shape(),
    "one key/value head": Shape(heads=8, kv_heads=1, head_dim=16),
    "as many key/value heads as heads": Shape(heads=2, kv_heads=2),
    "heads x head_dim == hidden": Shape(hidden=128, heads=4),
    "odd sizes": Shape(hidden=72, intermediate=100, heads=3, kv_heads=1, head_dim=48),
    "one layer": Shape(layers=1),
    "head_dim of the real models": Shape(head_dim=128),
    "sharded bfloat16": Shape(layers=3, shard_size="100KB"),
    "float32": Shape(dtype="float32"),
    "float16": Shape(dtype="float16"),
    "untied, with an lm_head": Shape(tied=False),
    "names without model.": Shape(prefixed=False),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_fp32_matches_transformers(tmp_path: Path, shape: Shape) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", shape)
    if shape.shard_size != "5GB":
        assert len(list(checkpoint.glob("model-*.safetensors"))) > 1
    session = PackedSession(export(str(checkpoint), repository=tmp_path).directory)
    texts = random_texts(LENGTHS)
    reference = reference_embeddings(checkpoint, texts)

    for batch in (slice(None), slice(3, 6), slice(0, 1), slice(9, 10)):  # unequal, equal, one token, long
        rows = session.embed(texts[batch])
        assert (rows * reference[batch]).sum(axis=1).min() >= 0.999999
        assert np.abs(rows - reference[batch]).max() <= 1e-5


def test_int8_stays_close_to_transformers(tmp_path: Path) -> None:
    # A tiny random model amplifies rounding; the true shape has its bound in integration/e2e/test_full_shape.py.
    checkpoint = make_checkpoint(tmp_path / "checkpoint", Shape())
    session = PackedSession(export(str(checkpoint), repository=tmp_path, precision="int8").directory)
    texts = random_texts(LENGTHS)
    rows = session.embed(texts)
    assert (rows * reference_embeddings(checkpoint, texts)).sum(axis=1).min() >= 0.99


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_row_equals_itself_in_any_batch(tmp_path: Path, precision: str) -> None:
    directory = export("tiny", repository=tmp_path, precision=precision).directory  # type: ignore[arg-type]
    session = PackedSession(directory)
    # 257 and 513: one row past attention's blocks of 256 queries, see padded_attention.py
    texts = random_texts([*LENGTHS, 1, 64, 64, 5, 256, 257])
    alone = np.concatenate([session.embed([ids]) for ids in texts])
    random = np.random.default_rng(1)
    for _ in range(10):
        chosen = random.permutation(len(texts))[: random.integers(1, len(texts) + 1)]
        batch = session.embed([texts[i] for i in chosen])
        np.testing.assert_array_equal(batch, alone[chosen])


def test_int8_gives_zero_rows_a_finite_answer(tmp_path: Path) -> None:
    """A row of zeros has no scale of its own; it must not become NaN."""
    checkpoint = make_checkpoint(tmp_path / "checkpoint", Shape(dtype="float32"))
    _zero_embeddings(checkpoint / "model.safetensors")
    session = PackedSession(export(str(checkpoint), repository=tmp_path, precision="int8").directory)
    rows = session.embed(random_texts([1, 4]))
    np.testing.assert_array_equal(rows, np.zeros_like(rows))


def _zero_embeddings(path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = load_file(path)
    tensors["model.embed_tokens.weight"][...] = 0
    save_file(tensors, path)
