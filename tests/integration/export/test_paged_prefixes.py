"""Rerankers' graphs for CUDA with keys and values of an earlier run, in ONNX's reference evaluator.

The evaluator's matrix products may round differently for another number of rows, so runs of the same rows are compared
bit by bit, and others within the float32 noise of that.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import pytest
from qwen3_export import export
from qwen3_export.kind import Kind
from qwen3_export.precision import FOR_CUDA, Precision
from support.contrib_operators import HalfSession, PagedAttention
from support.oracle import random_texts
from support.random_checkpoints import make_random_checkpoint

Ids = npt.NDArray[np.int64]
MakeSession = Callable[[Precision, str], HalfSession]
RELEASES = ["1.27", "1.29", "1.31"]
LAYERS = 2  # of the tiny model
MAX_TOKENS = 512


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> MakeSession:
    @functools.cache
    def make(precision: Precision, release: str) -> HalfSession:
        return HalfSession(graph_of(tmp_path_factory.mktemp("model"), precision=precision, ort_version=release))

    return make


def graph_of(
    repository: Path,
    *,
    kind: Kind = "reranker",
    max_tokens: int = MAX_TOKENS,
    **options: Any,  # noqa: ANN401
) -> Path:
    source = make_random_checkpoint(repository / "checkpoint", max_position_embeddings=max_tokens)
    return export(str(source), repository=repository, device="cuda", kind=kind, **options).directory / "1/model.onnx"


def columns(numbers: Sequence[int]) -> npt.NDArray[np.int64]:
    return np.array(numbers, np.int64)[:, None]


@pytest.mark.parametrize(
    ("release", "precision", "first", "second"),
    [
        *((release, precision, 20, 1) for release in RELEASES for precision in FOR_CUDA),
        ("1.27", "bf16", 257, 8),
        ("1.31", "bf16", 255, 30),
        ("1.31", "bf16", 256, 7),
        ("1.31", "bf16", 8, 400),
    ],
)
def test_a_prefix_from_an_earlier_run_changes_no_score(
    session: MakeSession, release: str, precision: Precision, first: int, second: int
) -> None:
    """Two prefixes in one batch, a text without any, prefixes that end at blocks, are longer; one token left over."""
    graph = session(precision, release)
    one, other, *bodies = random_texts([first, second, 1, 90, 100, 1, 30], seed=first)
    texts = [
        np.concatenate([one, bodies[0]]),
        np.concatenate([one, bodies[1]]),
        np.concatenate([other, bodies[2]]),
        np.concatenate([other, bodies[3]]),
        bodies[4],
    ]
    leaders = [texts[1], texts[4], texts[2]]  # each in company
    keep = np.concatenate([np.arange(first), texts[1].size + texts[4].size + np.arange(second)])
    swapped = np.concatenate([first + np.arange(second), np.arange(first)])
    table = graph.outputs(leaders, keep=keep, arrange=swapped)["kept"]
    assert table.shape[0] == first + second
    rows = graph.run(
        bodies,
        prefix_rows=table,
        prefix_starts=columns([second, second, 0, 0, 3]),
        prefix_lengths=columns([first, first, second, second, 0]),
    )
    assert [call["past"].tolist() for call in PagedAttention.calls] == [[first, first, second, second, 0]] * LAYERS
    for name, together in graph.run(texts).items():
        np.testing.assert_allclose(rows[name], together, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("release", RELEASES)
def test_a_table_is_made_of_the_last_one_and_of_new_rows(session: MakeSession, release: str) -> None:
    """A prefix that grows, beside another; rows of the old table stay, move and go."""
    graph = session("bf16", release)
    prompt, query, tail, other = random_texts([30, 20, 9, 50], seed=1)
    text = np.concatenate([prompt, query, tail])
    first = graph.outputs([text, other], keep=np.concatenate([np.arange(30), text.size + np.arange(40)]),
                          arrange=np.arange(70))["kept"]  # fmt: skip
    grown = graph.outputs(
        [text[30:], other],
        prefix_rows=first,
        prefix_starts=columns([0, 0]),
        prefix_lengths=columns([30, 0]),
        keep=np.arange(20),
        arrange=np.concatenate([np.arange(30, 70), np.arange(30), 70 + np.arange(20)]),
    )["kept"]
    whole = graph.outputs([text], keep=np.arange(50), arrange=np.arange(50))["kept"]
    np.testing.assert_array_equal(grown[:40], first[30:])
    np.testing.assert_array_equal(grown[40:70], first[:30])
    difference = np.abs(grown[40:].astype(np.float32) - whole.astype(np.float32))
    assert difference.max() <= 0.02 * np.abs(whole.astype(np.float32)).max()
    rows = graph.run([tail], prefix_rows=grown, prefix_starts=columns([40]), prefix_lengths=columns([50]))
    np.testing.assert_allclose(rows["logit"], graph.run([text])["logit"], rtol=0.02)


@pytest.mark.parametrize("length", [1, 13, 40])
def test_part_of_a_prefix_serves_as_well(session: MakeSession, length: int) -> None:
    graph = session("bf16", "1.31")
    (text,) = random_texts([60])
    table = graph.outputs([text], keep=np.arange(40), arrange=np.arange(40))["kept"]
    rows = graph.run([text[length:]], prefix_rows=table, prefix_starts=columns([0]), prefix_lengths=columns([length]))
    np.testing.assert_allclose(rows["logit"], graph.run([text])["logit"], rtol=1e-4)


def test_a_text_has_more_blocks_than_the_batch_has_rows(tmp_path: Path) -> None:
    graph = HalfSession(graph_of(tmp_path, max_tokens=1024, ort_version="1.31"))
    (text,) = random_texts([601])
    table = graph.outputs([text], keep=np.arange(600), arrange=np.arange(600))["kept"]
    rows = graph.run([text[600:]], prefix_rows=table, prefix_starts=columns([0]), prefix_lengths=columns([600]))
    np.testing.assert_allclose(rows["logit"], graph.run([text])["logit"], rtol=1e-4)


@pytest.mark.parametrize("release", RELEASES)
def test_a_prefix_counts_towards_the_longest_text(session: MakeSession, release: str) -> None:
    """And what is not admitted harms nobody, whatever it claims to begin with."""
    graph = session("bf16", release)
    (text,) = random_texts([MAX_TOKENS])
    table = graph.outputs([text], keep=np.arange(100), arrange=np.arange(100))["kept"]
    own = [np.append(text[100:], 1), text[100:], np.array([1, 260]), np.zeros(0, np.int64)]
    rows = graph.run(own, prefix_rows=table, prefix_starts=columns([0] * 4), prefix_lengths=columns([100] * 4))
    assert PagedAttention.calls[0]["past"].tolist() == [0, 100, 0, 0]
    assert np.isnan(rows["logit"][[0, 2, 3]]).all()
    np.testing.assert_allclose(rows["logit"][1], graph.run([text])["logit"][0], rtol=1e-4)


def test_rows_of_other_prefixes_are_never_attended_to(session: MakeSession) -> None:
    """Behind the prefix, pages hold other rows of the table until the text overwrites them. None of them shows."""
    graph = session("bf16", "1.31")
    prefix, body = random_texts([300, 20])
    text = np.concatenate([prefix, body])
    table = graph.outputs([text], keep=np.arange(300), arrange=np.arange(300))["kept"]
    random = np.random.default_rng(0).standard_normal((400, table.shape[1])).astype(table.dtype) * 100
    feed = {"prefix_starts": columns([37]), "prefix_lengths": columns([300])}
    results = []
    for filler in (np.zeros_like(random), random):
        surrounded = filler.copy()
        surrounded[37:337] = table
        results.append(graph.run([body], prefix_rows=surrounded, **feed)["logit"])
    np.testing.assert_array_equal(results[0], results[1])


def test_a_batch_without_prefixes_runs_what_it_ran_before(session: MakeSession) -> None:
    """One cache for all layers, and the branch is chosen by what is fed, not by what the graph can do."""
    graph = session("bf16", "1.31")
    texts = random_texts([5, 300, 40])
    outputs = graph.outputs(texts)
    assert outputs["kept"].shape[0] == 0
    shapes = {tuple(call["cache"].tolist()) for call in PagedAttention.calls}
    assert shapes == {(4, 256, 2, 32)}
    assert len(PagedAttention.calls) == LAYERS


def test_weights_are_in_the_file_once(tmp_path: Path) -> None:
    """All branches of the graph read the same ones, under the names of the checkpoint."""
    reranker = ir.load(graph_of(tmp_path)).graph
    embedding = ir.load(graph_of(tmp_path, kind="embedding")).graph
    optional = {"prefix_rows", "prefix_starts", "prefix_lengths", "keep", "arrange"}

    def weights(graph: ir.Graph) -> set[str]:
        return {name for name in graph.initializers if name.startswith("model.")}

    assert weights(reranker) == weights(embedding)
    assert optional <= set(reranker.initializers)
    assert not optional & set(embedding.initializers)
    for node in reranker.all_nodes():
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                assert not attribute.as_graph().initializers


@pytest.mark.parametrize(
    ("kind", "options", "shares"),
    [
        ("reranker", {}, True),
        ("reranker", {"attention": "gqa"}, False),
        ("embedding", {}, False),
    ],
)
def test_which_graphs_share_prefixes(tmp_path: Path, kind: Kind, options: dict[str, Any], shares: bool) -> None:  # noqa: FBT001
    model = onnx.load(graph_of(tmp_path, kind=kind, **options), load_external_data=False)
    assert ("kept" in [output.name for output in model.graph.output]) == shares
    assert ({entry.key: entry.value for entry in model.metadata_props}.get("shared_prefixes") != "none") == shares


@pytest.mark.parametrize("release", RELEASES)
def test_layers_wait_for_each_other(tmp_path: Path, release: str) -> None:
    """ONNX Runtime would make the caches of all layers at once, or keep rows before attention has written them."""
    model = ir.load(graph_of(tmp_path, ort_version=release))
    branches: dict[int, list[ir.Node]] = {}
    for node in model.graph.all_nodes():
        if node.op_type == "PagedAttention":
            branches.setdefault(id(node.graph), []).append(node)
    assert sorted(map(len, branches.values())) == [LAYERS] * 3
    separate = [layers for layers in branches.values() if layers[0].inputs[3] is not layers[1].inputs[3]]
    assert len(separate) == 2
    for first, second in separate:
        for cache in second.inputs[3:5]:
            assert depends(cache, first)
    keeping = 0
    for first, second in separate:
        for cache in first.inputs[3:5]:
            assert cache is not None
            kept = [use.node for use in cache.uses() if use.node is not first]
            keeping += len(kept)
            for reshape in kept:
                assert depends(reshape.outputs[0], first), "gathered before attention has written"
                (gather,) = (use.node for use in reshape.outputs[0].uses())
                assert depends(second.inputs[3], gather), "the next layer would not wait"
    assert keeping == 2, "one branch keeps keys and values"


def depends(value: ir.Value | None, node: ir.Node) -> bool:
    """Whether a value is computed from what a node computes."""
    seen: set[ir.Node] = set()
    waiting = [value]
    while waiting:
        next_value = waiting.pop()
        producer = None if next_value is None else next_value.producer()
        if producer is node:
            return True
        if producer is not None and producer not in seen:
            seen.add(producer)
            waiting += producer.inputs
    return False
