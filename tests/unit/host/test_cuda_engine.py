"""The engine for GPUs. A session on a CPU stands in for one on a GPU: both run the same graph contract."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from qwen3_export import export
from qwen3_export.cpu import open_session
from qwen3_serve.host.cuda_engine import CudaEngine, CudaSettings
from support.oracle import random_texts
from support.packed import PackedSession
from support.random_checkpoints import make_random_checkpoint


class Recording:
    """A session that records the sizes of its batches and can be told to fail."""

    def __init__(self, session: Any) -> None:  # noqa: ANN401
        self.session, self.batches, self.error = session, 0, ""

    def run_with_iobinding(self, binding: Any) -> None:  # noqa: ANN401
        if self.error:
            raise RuntimeError(self.error)
        self.batches += 1
        self.session.run_with_iobinding(binding)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self.session, name)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export whose graph, like those for CUDA, has no inputs and outputs for prefixes: it pools the mean."""
    folder = make_random_checkpoint(tmp_path_factory.mktemp("checkpoint"), is_causal=True)
    (folder / "modules.json").write_text(
        '[{"path": "", "type": "sentence_transformers.models.Transformer"},'
        ' {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]'
    )
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": "mean"}')
    return export(str(folder), repository=tmp_path_factory.mktemp("repository")).directory


def engine(directory: Path, *, max_batch_tokens: int) -> tuple[CudaEngine, Recording]:
    session = Recording(open_session(directory / "1" / "model.onnx", threads=1))
    return CudaEngine(session, max_batch_tokens=max_batch_tokens), session


@pytest.mark.parametrize("max_batch_tokens", [1, 100, 16_384])
def test_every_text_gets_its_own_row_whatever_the_budget(directory: Path, max_batch_tokens: int) -> None:
    texts = random_texts([40, 3, 120, 1, 40, 7])
    rows, *_ = engine(directory, max_batch_tokens=max_batch_tokens)[0].run(texts)
    alone = PackedSession(directory)
    np.testing.assert_array_equal(rows, np.concatenate([alone.embed([ids]) for ids in texts]))


def test_batches_keep_to_the_budget_and_texts_of_any_lengths_share_one(directory: Path) -> None:
    model, session = engine(directory, max_batch_tokens=100)
    model.run(random_texts([1, 98, 1]))
    assert session.batches == 1
    model.run(random_texts([101, 50, 51, 49]))
    assert session.batches == 1 + 3


def test_no_batch_has_more_texts_than_paged_attention_takes(directory: Path) -> None:
    model, session = engine(directory, max_batch_tokens=16_384)
    rows, *_ = model.run([np.array([1], np.int64)] * 300)
    assert session.batches == 2
    assert rows.shape[0] == 300


def test_no_texts(directory: Path) -> None:
    rows, *_ = engine(directory, max_batch_tokens=100)[0].run([])
    assert rows.shape[0] == 0


def test_a_lack_of_memory_names_the_setting(directory: Path) -> None:
    model, session = engine(directory, max_batch_tokens=100)
    session.error = "Failed to allocate memory for requested buffer of size 1048576"
    with pytest.raises(RuntimeError, match=r"lower max_batch_tokens .*1048576"):
        model.run(random_texts([3]))
    session.error = ""
    texts: list[npt.NDArray[np.int64]] = random_texts([3])
    np.testing.assert_array_equal(model.run(texts)[0], PackedSession(directory).embed(texts))


def test_settings() -> None:
    stated = {"max_batch_tokens": "16384", "gpu": "1"}
    assert CudaSettings.from_parameters(stated) == CudaSettings(16384, 1, None, 512)
    assert CudaSettings.from_parameters(stated | {"prefix_cache_tokens": "0"}).prefix_cache_tokens == 0
    assert CudaSettings.from_parameters(stated | {"gpu_mem_limit": "1073741824"}).memory_limit_bytes == 2**30


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gpu", "-1"),
        ("gpu", "first"),
        ("max_batch_tokens", "0"),
        ("gpu_mem_limit", "8GB"),
        ("prefix_cache_tokens", "-1"),
    ],
)
def test_a_bad_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"the parameter {name} must be a number of at least"):
        CudaSettings.from_parameters({"max_batch_tokens": "16384", "gpu": "0", name: value})
