"""The engine on real graphs: what texts share is computed once, and no bit of any row tells."""

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qwen3_export import export
from qwen3_export.cpu import RAGGED
from qwen3_serve.host.packed_engine import PackedEngine, Settings
from support.oracle import random_texts
from support.packed import PackedSession
from support.random_checkpoints import make_random_checkpoint

Ids = npt.NDArray[np.int64]

HEADS = [np.zeros(0, np.int64), *random_texts([12, 20, 20, 90, 300], seed=5)]
texts = st.builds(
    lambda head, length, seed: np.concatenate([HEADS[head], np.random.default_rng(seed).integers(0, 250, length)]),
    st.integers(0, len(HEADS) - 1),
    st.integers(1, 40),
    st.integers(0, 3),  # few, so that whole texts repeat
)


@pytest.fixture(scope="module", params=["fp32", "int8"])
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export("tiny", repository=tmp_path_factory.mktemp("repository"), precision=request.param).directory


def engine(directory: Path, *, prefix_cache_tokens: int = 512, portable: bool = False) -> PackedEngine:
    chosen = Settings(max_batch_tokens=128, max_slots_per_token=1.25, prefix_cache_tokens=prefix_cache_tokens)
    return PackedEngine(directory / "1" / "model.onnx", chosen, threads=1, portable=portable)


class Counting:
    """A session that counts tokens, and those kept, and can be told to fail."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self.session, self.runs, self.tokens, self.kept, self.fails = session, 0, 0, 0, False

    def run(self, names: list[str], feed: dict[str, Ids]) -> list[npt.NDArray[np.float32]]:
        if self.fails:
            raise RuntimeError("out of memory")
        self.runs += 1
        self.tokens += feed["input_ids"].size
        self.kept += feed["keep"].size
        rows: list[npt.NDArray[np.float32]] = self.session.run(names, feed)
        return rows


def counting(model: PackedEngine) -> Counting:
    counter = Counting(model._session)
    model._session = counter
    return counter


@settings(max_examples=12, deadline=None)
@given(batches=st.lists(st.lists(texts, min_size=1, max_size=12), min_size=1, max_size=6))
@pytest.mark.parametrize("prefix_cache_tokens", [0, 100, 512])
@pytest.mark.parametrize("portable", [False, True])
def test_every_text_gets_the_bits_that_it_gets_alone(
    directory: Path, *, portable: bool, prefix_cache_tokens: int, batches: list[list[Ids]]
) -> None:
    alone = PackedSession(directory, portable=portable)
    model = engine(directory, prefix_cache_tokens=prefix_cache_tokens, portable=portable)
    for batch in batches:
        results = model.empty(len(batch))
        done = [index for indices in model.fill(results, batch) for index in indices]
        assert sorted(done) == list(range(len(batch)))
        expected = np.concatenate([alone.embed([ids]) for ids in batch])
        np.testing.assert_array_equal(results[0], expected)


@pytest.mark.parametrize(("portable", "runs"), [(False, 1), (True, 3)])
def test_texts_of_any_lengths_share_a_batch_unless_attention_pads_them(
    directory: Path, *, portable: bool, runs: int
) -> None:
    model = engine(directory, prefix_cache_tokens=0, portable=portable)
    counter = counting(model)
    model.run(random_texts([70, 1, 20, 1, 30]))
    assert counter.runs == runs


@pytest.mark.parametrize("prefix_cache_tokens", [0, 512])
def test_shorter_texts_are_done_first_and_their_rows_are_complete_then(
    directory: Path, *, prefix_cache_tokens: int
) -> None:
    batch = random_texts([120, 3, 100, 50, 60, 5])
    alone = [PackedSession(directory).embed([ids]) for ids in batch]
    model = engine(directory, prefix_cache_tokens=prefix_cache_tokens)
    results = model.empty(len(batch))
    done: list[list[int]] = []
    for indices in model.fill(results, batch):
        done.append(list(indices))
        for index in indices:
            np.testing.assert_array_equal(results[0][[index]], alone[index])
    assert done == [[1, 5, 3, 4], [2], [0]]


def test_an_instruction_is_computed_once(directory: Path) -> None:
    instruction, *queries = random_texts([20, *[8] * 32])
    batch = [np.append(instruction, query) for query in queries]
    model = engine(directory)
    counter = counting(model)
    model.run(batch)
    assert counter.tokens == 28 + 8 * 31
    counter.tokens = 0
    model.run(batch[:1])
    assert counter.tokens == 8
    counter.tokens = 0
    without = engine(directory, prefix_cache_tokens=0)
    counter = counting(without)
    without.run(batch)
    assert counter.tokens == 28 * 32


def test_a_query_after_an_instruction_is_computed_once_as_well(directory: Path) -> None:
    """A reranker's prompts: the same for all, then a query's own, then a document."""
    prompt, one, other, *documents = random_texts([40, 10, 12, *[30] * 20])
    model = engine(directory)
    counter = counting(model)
    model.run([np.concatenate([prompt, one, document]) for document in documents])
    assert counter.tokens == 80 + 19 * 30
    counter.tokens = 0
    model.run([np.concatenate([prompt, other, document]) for document in documents])
    assert counter.tokens == 42 + 19 * 30, "from the prompt on"


def test_a_failed_run_leaves_nothing_behind(directory: Path) -> None:
    instruction, *queries = random_texts([20, *[8] * 8])
    batch = [np.append(instruction, query) for query in queries]
    model = engine(directory)
    counter = counting(model)
    counter.fails = True
    with pytest.raises(RuntimeError, match="out of memory"):
        model.run(batch)
    counter.fails = False
    expected = np.concatenate([PackedSession(directory).embed([ids]) for ids in batch])
    for _ in range(2):
        np.testing.assert_array_equal(model.run(batch)[0], expected)


def test_one_batch_never_keeps_more_than_the_cache_takes(directory: Path) -> None:
    """Long texts that all come a second time, as after a time-out."""
    batch = random_texts([90 + i for i in range(12)])
    model = engine(directory, prefix_cache_tokens=100)
    counter = counting(model)
    model.run(batch)
    assert counter.kept == 0
    model.run(batch)
    assert 0 < counter.kept <= 100


def test_an_older_configuration_has_a_cache() -> None:
    assert Settings.from_parameters({"max_batch_tokens": "512", "max_slots_per_token": "1.25"}).prefix_cache_tokens > 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prefix_cache_tokens", "-1"),
        ("prefix_cache_tokens", "many"),
        ("max_batch_tokens", "0"),
        ("max_batch_tokens", "512.5"),
        ("max_slots_per_token", "nan"),
    ],
)
def test_a_bad_setting_is_named(name: str, value: str) -> None:
    parameters = {"max_batch_tokens": "512", "max_slots_per_token": "1.25", "prefix_cache_tokens": "512", name: value}
    with pytest.raises(ValueError, match=f"the parameter {name} must be a number of at least"):
        Settings.from_parameters(parameters)


def test_a_graph_of_an_earlier_release_is_refused(directory: Path, tmp_path: Path) -> None:
    shutil.copytree(directory / "1", tmp_path / "1", ignore=shutil.ignore_patterns(RAGGED))
    model = onnx.load(tmp_path / "1" / "model.onnx", load_external_data=False)
    assert [model.graph.output.pop().name for _ in range(2)] == ["fingerprint", "kept"]
    (tmp_path / "1" / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=r"earlier release .* export the model again"):
        engine(tmp_path)


def test_a_model_with_full_attention_shares_no_prefix(tmp_path: Path) -> None:
    """The second text would take the first one's keys and values, which depend on the rest of the first."""
    folder = make_random_checkpoint(tmp_path / "checkpoint", is_causal=False)
    (folder / "modules.json").write_text(
        '[{"path": "", "type": "sentence_transformers.models.Transformer"},'
        ' {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]'
    )
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": "mean"}')
    exported = export(str(folder), repository=tmp_path).directory
    head, *_ = random_texts([50])
    batch = [np.concatenate([head, tail]) for tail in random_texts([3, 40, 1, 40, 2])]
    session = PackedSession(exported)
    model = engine(exported)
    assert (
        model.attention
        == f"ONNX Runtime's, because {exported / '1'} has no ragged.onnx, which exports of causal models have"
    )
    for _ in range(2):
        rows, *_ = model.run(batch)
        for ids, row in zip(batch, rows, strict=True):
            np.testing.assert_array_equal(session.embed([ids])[0], row)
