"""The engine for GPUs on rerankers' graphs: what pairs share is computed once, and every score stays the same."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qwen3_export import export
from qwen3_serve.host import gpu_prefixes
from qwen3_serve.host.cuda_engine import CudaEngine
from support.bound_session import BoundSession
from support.oracle import random_texts

Ids = npt.NDArray[np.int64]
Runs = list[dict[str, npt.NDArray[Any]]]

PROMPT, QUERY = 40, 45


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> BoundSession:
    repository = tmp_path_factory.mktemp("repository")
    directory = export("tiny", repository=repository, device="cuda", kind="reranker").directory
    return BoundSession(directory / "1" / "model.onnx")


@pytest.fixture
def runs(session: BoundSession) -> Runs:
    session.runs.clear()
    session.error = ""
    return session.runs


def engine(session: BoundSession, *, tokens: int = 512, budget: int = 16_384) -> CudaEngine:
    return CudaEngine(session, max_batch_tokens=budget, prefix_cache_tokens=tokens)


def pairs(query: int, documents: Sequence[int]) -> list[Ids]:
    """Pairs of one query, numbered, with documents of these lengths."""
    (prompt,) = random_texts([PROMPT], seed=99)
    (own,) = random_texts([QUERY], seed=query)
    return [np.concatenate([prompt, own, document]) for document in random_texts(documents, seed=100 + query)]


def alone(session: BoundSession, texts: Sequence[Ids]) -> npt.NDArray[np.float32]:
    """The logits of a server without the cache."""
    model = engine(session, tokens=0)
    rows = model.run(texts)[model.outputs.index("logit")]
    session.runs.clear()
    return np.asarray(rows)


def logits(model: CudaEngine, texts: Sequence[Ids]) -> npt.NDArray[np.float32]:
    return np.asarray(model.run(texts)[model.outputs.index("logit")])


def computed(runs: Runs) -> list[int]:
    """The tokens of each run."""
    return [run["input_ids"].size for run in runs]


def test_a_query_is_computed_once_for_all_its_documents(session: BoundSession, runs: Runs) -> None:
    texts = pairs(0, [8, 30, 1, *[5] * 17])
    expected = alone(session, texts)
    np.testing.assert_allclose(logits(engine(session), texts), expected, rtol=1e-5)
    documents = [ids.size - PROMPT - QUERY for ids in texts]
    leader = 1  # the first text that begins like one before it
    assert computed(runs) == [texts[leader].size, sum(documents) - documents[leader]]
    assert "prefix_rows" not in runs[0]
    assert runs[1]["prefix_rows"].shape[0] == PROMPT + QUERY
    assert runs[1]["prefix_lengths"].ravel().tolist() == [PROMPT + QUERY] * 19


def test_the_table_is_on_the_gpu_that_the_session_is_on(
    session: BoundSession, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "gpu", 3)
    CudaEngine(session, max_batch_tokens=16_384, gpu=3, prefix_cache_tokens=512).run(pairs(0, [5] * 20))
    assert "keep" in runs[0], "the stand-in refuses memory of another GPU"


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few tokens are worth a run of their own, so that small batches will do."""
    monkeypatch.setattr(gpu_prefixes, "_LEADER_TOKENS", 60)
    monkeypatch.setattr(gpu_prefixes, "_COPY_TOKENS", 1)


@pytest.mark.usefixtures("eager")
def test_queries_share_a_table_that_grows_and_is_overwritten(session: BoundSession, runs: Runs) -> None:
    """Several queries in one batch, some of them known; prefixes of earlier ones are replaced by newer ones."""
    model = engine(session, tokens=200)
    updates = []
    for queries in ([0], [0, 1], [2, 1], [3, 4, 0], [2], [0, 1, 2, 3, 4]):
        texts = [ids for query in queries for ids in pairs(query, [3 + query, 9, 4])]
        expected = alone(session, texts)
        np.testing.assert_allclose(logits(model, texts), expected, rtol=1e-5)
        updates += [run["arrange"].size for run in runs if "prefix_rows" in run and "arrange" in run]
        runs.clear()
    assert max(updates) <= 200
    assert len(updates) >= 3, "not often enough to overwrite anything"


@pytest.mark.usefixtures("eager")
def test_leaders_that_begin_with_a_prefix_build_on_it(session: BoundSession, runs: Runs) -> None:
    model = engine(session)
    logits(model, pairs(0, [5] * 3))
    texts = pairs(1, [7] * 4)
    expected = alone(session, texts)
    np.testing.assert_allclose(logits(model, texts), expected, rtol=1e-5)
    assert computed(runs) == [QUERY + 7, 3 * 7], "from the prompt on"
    assert runs[0]["arrange"].size == 2 * (PROMPT + QUERY)


@pytest.mark.parametrize("count", [1, 2, 12])
def test_a_few_pairs_run_at_once(session: BoundSession, runs: Runs, count: int) -> None:
    """A run of its own would take longer than what it saves."""
    texts = pairs(0, [5] * count)
    logits(engine(session), texts)
    assert computed(runs) == [sum(ids.size for ids in texts)]


def test_a_known_prefix_is_not_used_for_a_single_pair(session: BoundSession, runs: Runs) -> None:
    model = engine(session)
    logits(model, pairs(0, [5] * 20))
    runs.clear()
    logits(model, pairs(0, [6]))
    logits(model, pairs(0, [6, 7, 8, 9]))
    assert computed(runs) == [PROMPT + QUERY + 6, 6 + 7 + 8 + 9]


@pytest.mark.usefixtures("eager")
def test_batches_keep_to_the_budget_without_the_prefixes(session: BoundSession, runs: Runs) -> None:
    texts = pairs(0, [5] * 24)
    expected = alone(session, texts)
    np.testing.assert_allclose(logits(engine(session, budget=100), texts), expected, rtol=1e-5)
    assert computed(runs)[0] == texts[0].size
    assert sum(computed(runs)[1:]) == 23 * 5
    assert max(computed(runs)) <= 100


@pytest.mark.usefixtures("eager")
def test_leaders_that_do_not_fit_into_one_batch_run_with_the_others(session: BoundSession, runs: Runs) -> None:
    texts = [ids for query in range(3) for ids in pairs(query, [5] * 3)]
    expected = alone(session, texts)
    np.testing.assert_allclose(logits(engine(session, budget=200), texts), expected, rtol=1e-5)
    assert computed(runs)[0] == 2 * (PROMPT + QUERY + 5)
    assert "keep" in runs[0]
    assert not any("keep" in run for run in runs[1:])


def test_a_leader_over_the_budget_leaves_the_others_theirs() -> None:
    """The long one saves most, and would have run alone."""
    long, short = pairs(0, [400, 400, *[5] * 40]), pairs(1, [5] * 20)
    cache = gpu_prefixes.GpuPrefixes(tokens=512)
    chosen = cache.choose_leaders(long + short, max_texts=256, max_tokens=400)
    assert [(long + short)[leader].size for leader in chosen] == [PROMPT + QUERY + 5]


def test_only_what_chosen_leaders_save_counts() -> None:
    long, short = pairs(0, [400, 400, *[5] * 40]), pairs(1, [5] * 4)
    cache = gpu_prefixes.GpuPrefixes(tokens=512)
    assert cache.choose_leaders(long + short, max_texts=256, max_tokens=400) == {}


@pytest.mark.usefixtures("eager", "runs")
def test_a_failed_run_leaves_nothing_behind(session: BoundSession) -> None:
    texts = pairs(0, [5] * 3)
    expected = alone(session, texts)
    model = engine(session)
    session.error = "Failed to allocate memory"
    with pytest.raises(RuntimeError, match="lower max_batch_tokens"):
        model.run(texts)
    session.error = ""
    for _ in range(2):
        np.testing.assert_allclose(logits(model, texts), expected, rtol=1e-5)


def test_no_cache_no_leaders(session: BoundSession, runs: Runs) -> None:
    texts = pairs(0, [5] * 20)
    logits(engine(session, tokens=0), texts)
    assert computed(runs) == [sum(ids.size for ids in texts)]
    assert set(runs[0]) == {"input_ids", "lengths"}


# Few ids and a few beginnings, so that texts have much in common.
texts_with_beginnings = st.builds(
    lambda head, tail: np.array(head + tail, np.int64),
    st.sampled_from([[1] * 8, [1] * 12, [1] * 8 + [2] * 8, [3] * 20]),
    st.lists(st.integers(0, 2), min_size=1, max_size=24),
)


def rows_of(ids: Ids) -> npt.NDArray[np.int64]:
    """Rows that, like a causal model's, say all that came before: the token, and a number of all up to there."""
    return np.array([[token, hash(ids[: index + 1].tobytes())] for index, token in enumerate(ids)]).reshape(-1, 2)


@settings(deadline=None)
@given(st.lists(st.lists(texts_with_beginnings, min_size=1, max_size=8), max_size=12), st.integers(16, 60))
def test_every_row_of_the_table_belongs_to_the_texts_that_use_it(batches: list[list[Ids]], tokens: int) -> None:
    """The graph is played by numpy: the rows of the last table, then those that are kept, in the order asked for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu_prefixes, "_LEADER_TOKENS", 1)
        patch.setattr(gpu_prefixes, "_COPY_TOKENS", 1)
        cache = gpu_prefixes.GpuPrefixes(tokens=tokens)
        table = np.zeros((0, 2), np.int64)
        for batch in batches:
            leaders = cache.choose_leaders(batch, max_texts=4, max_tokens=100)
            texts = [batch[index] for index in leaders]
            prefixes = cache.of(texts)
            if leaders:
                inputs = cache.keeping(texts, prefixes, list(leaders.values()))
                own = [rows_of(ids)[prefix.length :] for ids, prefix in zip(texts, prefixes, strict=True)]
                new = np.concatenate(own)[inputs["keep"]]
                table = np.concatenate([table, new])[inputs["arrange"]]
                assert table.shape[0] <= tokens
                kept = [ids[:length] for ids, length in zip(texts, leaders.values(), strict=True)]
                cache.replace(table, kept, rows=table.shape[0])
            for ids, prefix in zip(batch, cache.of(batch), strict=True):
                assert prefix.length < ids.size
                found = table[prefix.start : prefix.start + prefix.length]
                np.testing.assert_array_equal(found, rows_of(ids[: prefix.length]))
