"""The padding front in a real Triton, with ONNX Runtime in the place of the TensorRT plan.

The packed model of the same checkpoint is served beside it, and says what the vectors should be. Padded batches are not
bit for bit independent of their company, so they are compared within a tolerance.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qwen3_client import Client
from qwen3_export import export
from qwen3_serve import Triton
from support.oracle import random_texts
from support.wire import Wire
from tritonclient.utils import InferenceServerException

pytestmark = pytest.mark.tensorrt

TOLERANCE = 2e-6


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    folder = tmp_path_factory.mktemp("tensorrt")
    for kind in ("embedding", "reranker"):
        export("tiny", repository=folder, kind=kind, device="tensorrt", precision="fp32")
        export("tiny", repository=folder, kind=kind, name=f"packed_{kind}")
    with Triton(folder, threads=1) as server:
        yield server


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """A Triton whose plan takes two texts at once, which its padding front has not been told."""
    folder = tmp_path_factory.mktemp("narrow-plan")
    export("tiny", repository=folder, device="tensorrt", precision="fp32")
    config = folder / "qwen3_embedding_trt" / "configs" / "embedded.pbtxt"
    text = config.read_text()
    assert "max_batch_size: 32" in text
    config.write_text(text.replace("max_batch_size: 32", "max_batch_size: 2"))
    with Triton(folder, threads=1) as server:
        yield server


@pytest.fixture
def padding_front(triton: Triton) -> Iterator[Wire]:
    wire = Wire(triton.grpc_url)
    yield wire
    wire.close()


@pytest.fixture
def packed(triton: Triton) -> Iterator[Wire]:
    wire = Wire(triton.grpc_url, "packed_embedding")
    yield wire
    wire.close()


def test_all_four_models_and_their_packed_twins_are_served(triton: Triton) -> None:
    models = triton.models()
    assert set(models) == {
        *("packed_embedding", "packed_reranker"),
        *("qwen3_embedding", "qwen3_embedding_trt"),
        *("qwen3_reranker", "qwen3_reranker_trt"),
    }
    assert models["qwen3_embedding"]["plan_model"] == "qwen3_embedding_trt"
    assert {models[name]["device"] for name in models if "packed" not in name} == {"tensorrt"}


def test_ragged_requests_get_the_packed_models_vectors(padding_front: Wire, packed: Wire) -> None:
    random = np.random.default_rng(3)
    shapes = [(3, 5), (1, 7), (2, 5), (1, 300), (4, 1), (1, 5), (2, 64), (1, 1), (32, 17), (1, 2048)]
    requests = [random.integers(0, 256, shape, dtype=np.int64) for shape in shapes]
    for own, expected in zip(padding_front.embed(requests), packed.embed(requests), strict=True):
        assert own.dtype == np.float32
        assert own.shape == expected.shape
        np.testing.assert_allclose(own, expected, atol=TOLERANCE)


def test_texts_run_in_padded_batches(triton: Triton, padding_front: Wire) -> None:
    plan = Wire(triton.grpc_url, "qwen3_embedding_trt")
    before = plan.settled_batches()
    padding_front.embed([ids[None] for ids in random_texts([40, 41, 42, 43] * 16, seed=5)])
    after = plan.settled_batches()
    plan.close()
    assert max(size for size in after if after[size] > before.get(size, 0)) >= 4, "nothing was padded together"


def test_one_bad_request_fails_alone(padding_front: Wire, packed: Wire) -> None:
    good = [ids[None] for ids in random_texts([*range(1, 29), 64, 81, 257])]
    expected = packed.embed(good)
    bad = {
        "empty": np.zeros((1, 0), np.int64),
        "has 2049 tokens, more than the model's 2048": np.zeros((1, 2049), np.int64),
        "must be from 0 to 259": np.array([[1, -1, 2]], np.int64),
        "from the model's own tokenizer": np.array([[1, 260, 2]], np.int64),
    }
    for message, ids in bad.items():
        futures = [padding_front.send(text) for text in good[:16]]
        refused = padding_front.send(ids)
        futures += [padding_front.send(text) for text in good[16:]]
        with pytest.raises(InferenceServerException, match=message) as error:
            refused.result(60)
        assert "INVALID_ARGUMENT" in str(error.value.status())
        for future, row in zip(futures, expected, strict=True):
            np.testing.assert_allclose(future.result(60), row, atol=TOLERANCE)


def test_the_client_uses_the_padding_front_like_any_model(triton: Triton) -> None:
    texts = ["x" * int(length) for length in np.random.default_rng(4).integers(1, 300, 32)]
    with Client(triton.grpc_url, model="packed_embedding", reranker="packed_reranker") as client:
        expected = client.encode_document(texts)
        logits = [client.rank("q", [text])[0].logit for text in texts[:6]]

    def embed(seed: int) -> None:
        order = np.random.default_rng(seed).permutation(len(texts))
        with Client(triton.grpc_url, model="qwen3_embedding", concurrency=8) as client:
            rows = client.encode_document([texts[i] for i in order])
        np.testing.assert_allclose(rows, expected[order], atol=TOLERANCE)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(embed, range(8)))
    with Client(triton.grpc_url, model="qwen3_embedding", reranker="qwen3_reranker") as client:
        hits = client.rank("q", texts[:6], top_k=6)
    for hit in hits:
        assert hit.logit == pytest.approx(logits[hit.index], abs=2e-4)


def test_a_client_without_a_models_name_is_not_confused_by_the_plan(narrow: Triton) -> None:
    with Client(narrow.grpc_url) as client:
        assert client.encode_document("a").shape == (64,)


def test_a_group_that_fails_takes_no_other_with_it(narrow: Triton) -> None:
    wire = Wire(narrow.grpc_url)
    random = np.random.default_rng(6)
    too_many, alone = random.integers(0, 256, (3, 5), dtype=np.int64), random.integers(0, 256, (1, 300), dtype=np.int64)
    expected = wire.embed([alone])[0]
    for _attempt in range(10):
        before = wire.settled_batches()
        busy = [wire.send(ids[None]) for ids in random_texts([2048] * 3, seed=9)]
        refused, fine = wire.send(too_many), wire.send(alone)
        with pytest.raises(InferenceServerException, match=r"qwen3_embedding_trt could not be called|failed.*batch"):
            refused.result(60)
        np.testing.assert_allclose(fine.result(60), expected, atol=TOLERANCE)
        _wait(busy)
        after = wire.settled_batches()
        if (
            max(size for size in after if after[size] > before.get(size, 0)) >= 4
        ):  # both were in one batch of the padding front
            wire.close()
            return
    pytest.fail("the two requests never met in one batch of the padding front")


def test_a_padding_front_without_its_plan_says_so_and_recovers(narrow: Triton) -> None:
    wire = Wire(narrow.grpc_url)
    (text,) = random_texts([9])
    expected = wire.embed([text[None]])[0]
    wire.client.unload_model("qwen3_embedding_trt")
    try:
        with pytest.raises(InferenceServerException, match="qwen3_embedding_trt"):
            wire.embed([text[None]])
    finally:
        wire.client.load_model("qwen3_embedding_trt")
    np.testing.assert_array_equal(wire.embed([text[None]])[0], expected)
    wire.close()


def test_half_precision_runs_in_the_same_arrangement(tmp_path: Path, packed: Wire) -> None:
    export("tiny", repository=tmp_path, device="tensorrt", precision="fp16")
    texts = [ids[None] for ids in random_texts([1, 9, 9, 60])]
    with Triton(tmp_path, threads=1) as server:
        wire = Wire(server.grpc_url)
        rows = np.concatenate(wire.embed(texts))
        wire.close()
    assert (rows * np.concatenate(packed.embed(texts))).sum(axis=1).min() > 0.9999


def _wait(futures: list[Future[Any]]) -> None:
    for future in futures:
        future.result(60)
