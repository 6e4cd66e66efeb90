"""The graph with keys and values of an earlier run: the same bits as without, in every CPU precision."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest
from qwen3_export import export
from qwen3_export.cpu import RAGGED
from qwen3_export.precision import FOR_CUDA, PRECISIONS, Precision
from support.checkpoints import Shape, make_checkpoint
from support.oracle import random_texts
from support.packed import PackedSession

Ids = npt.NDArray[np.int64]
Rows = npt.NDArray[np.float32]

ON_CPU: list[Precision] = [precision for precision in PRECISIONS if precision not in FOR_CUDA]
MAX_TOKENS = 2048


def run(
    session: PackedSession, texts: Sequence[Ids], prefixes: Sequence[tuple[int, int]], rows: Rows
) -> dict[str, Rows]:
    """Results of texts without their prefixes, for each of which (start, length) among the rows."""
    starts, lengths = np.array(prefixes, np.int64).T[..., None]
    return session.run(texts, prefix_rows=rows, prefix_starts=starts, prefix_lengths=lengths)


@pytest.mark.parametrize("kind", ["embedding", "reranker"])
@pytest.mark.parametrize("precision", ON_CPU)
@pytest.mark.parametrize("portable", [False, True])
def test_a_prefix_from_an_earlier_run_changes_no_bit(
    tmp_path: Path, precision: Precision, kind: str, *, portable: bool
) -> None:
    """Two prefixes in one batch, a text without any, prefixes that end at blocks of attention, one token left over."""
    checkpoint = make_checkpoint(tmp_path / "checkpoint", Shape(layers=3))
    directory = export(str(checkpoint), repository=tmp_path, precision=precision, kind=kind).directory  # type: ignore[arg-type]
    session = PackedSession(directory, portable=portable)
    for seed, (first, second) in enumerate([(20, 1), (255, 30), (256, 7), (257, 300), (8, 600)]):
        one, other, *bodies = random_texts([first, second, 1, 90, 257, 1, 30], seed=seed)
        texts = [
            np.concatenate([one, bodies[0]]),
            np.concatenate([one, bodies[1]]),
            np.concatenate([other, bodies[2]]),
            np.concatenate([other, bodies[3]]),
            bodies[4],
        ]
        leaders = [texts[1], texts[4], texts[2]]  # each in company
        keep = np.concatenate([np.arange(first), texts[1].size + texts[4].size + np.arange(second)])
        kept = session.kept(leaders, keep)
        rows = np.full((2000, kept.shape[1]), np.nan, np.float32)  # NaN in any row but these would show
        rows[50 : 50 + first], rows[700 : 700 + second] = kept[:first], kept[first:]
        prefixes = [(50, first), (50, first), (700, second), (700, second), (0, 0)]
        results = run(session, bodies, prefixes, rows)
        alone = [session.run([ids]) for ids in texts]
        for name, own in results.items():
            np.testing.assert_array_equal(own, np.concatenate([result[name] for result in alone]))


def test_part_of_a_prefix_serves_as_well(tmp_path: Path) -> None:
    session = PackedSession(export("tiny", repository=tmp_path).directory)
    (text,) = random_texts([60])
    rows = session.kept([text], np.arange(40))
    (alone,) = session.embed([text])
    for length in (1, 13, 40):
        (own,) = run(session, [text[length:]], [(0, length)], rows)["embedding"]
        np.testing.assert_array_equal(own, alone)


def test_a_prefix_counts_towards_the_longest_text(tmp_path: Path) -> None:
    """And what is not admitted harms nobody, whatever it claims to begin with."""
    session = PackedSession(export("tiny", repository=tmp_path).directory)
    (text,) = random_texts([MAX_TOKENS])
    rows = session.kept([text], np.arange(100))
    longest, too_long, foreign = text[100:], np.append(text[100:], 1), np.array([1, 260])
    results = run(session, [too_long, longest, foreign], [(0, 100)] * 3, rows)["embedding"]
    assert np.isnan(results[[0, 2]]).all()
    np.testing.assert_array_equal(results[1], session.embed([text])[0])


def test_attention_waits_for_what_is_kept(tmp_path: Path) -> None:
    """ONNX Runtime would gather it at the end of the run, and keys and values of all layers would live until then."""
    checkpoint = make_checkpoint(tmp_path / "checkpoint", Shape(layers=3))
    graph = ir.load(export(str(checkpoint), repository=tmp_path).directory / "1" / "model.onnx").graph
    (kept,) = (output for output in graph.outputs if output.name == "kept")
    parts = iter(producer(kept).inputs)
    layers = [node for node in graph if node.op_type == "GroupQueryAttention"]
    assert len(layers) == 3
    for layer in layers:
        for rows in layer.inputs[1:3]:
            joined = producer(producer(rows).inputs[0])
            assert joined.inputs[-1] is next(parts)


def test_ragged_attention_returns_what_is_kept_itself(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", Shape(layers=3))
    graph = ir.load(export(str(checkpoint), repository=tmp_path).directory / "1" / RAGGED).graph
    (kept,) = (output for output in graph.outputs if output.name == "kept")
    layers = [node for node in graph if node.op_type == "RaggedAttention"]
    assert list(producer(kept).inputs) == [layer.outputs[1] for layer in layers]


def producer(value: ir.Value | None) -> ir.Node:
    assert value is not None
    node = value.producer()
    assert node is not None
    return node
