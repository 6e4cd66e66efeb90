"""The promises that hold inside Triton's batches: own rows for everyone, and the same bits in any company."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from qwen3_client import Client
from qwen3_serve import Triton
from support.oracle import random_texts
from support.packed import PackedSession
from support.wire import Wire
from tritonclient.utils import InferenceServerException


@pytest.fixture
def wire(either: Triton) -> Iterator[Wire]:
    connection = Wire(either.grpc_url)
    yield connection
    connection.close()


def _queued_behind_a_long_text(wire: Wire, texts: list[np.ndarray]) -> tuple[list[np.ndarray], set[int]]:  # type: ignore[type-arg]
    """Send texts while the model is busy, so that Triton batches them; their rows and the new batch sizes."""
    before = wire.settled_batches()
    (long,) = random_texts([2048], seed=9)
    busy = [wire.send(long[None]) for _ in range(3)]
    rows = wire.embed(texts)
    for future in busy:
        future.result(60)
    after = wire.settled_batches()
    return rows, {size for size in after if after[size] > before.get(size, 0)}


def test_mixed_requests_get_their_own_rows(wire: Wire) -> None:
    """[b, n] and [1, n] requests in one Triton batch; BATCH_ELEMENT_COUNT would mix up their rows."""
    shapes = [(3, 5), (1, 7), (2, 5), (1, 300), (4, 1), (1, 5), (2, 64)]
    random = np.random.default_rng(3)
    texts = [random.integers(0, 256, shape, dtype=np.int64) for shape in shapes]
    alone = [np.concatenate([wire.embed([row[None]])[0] for row in ids]) for ids in texts]
    total = sum(b for b, _ in shapes)
    for _attempt in range(10):
        rows, sizes = _queued_behind_a_long_text(wire, texts)
        for ids, own, expected in zip(texts, rows, alone, strict=True):
            assert own.shape == (ids.shape[0], 64)
            np.testing.assert_array_equal(own, expected)
        if max(sizes) >= total:  # all of them ran together
            return
    pytest.fail(f"Triton never ran the {total} texts in one batch; it ran {sorted(sizes)}")


def test_one_bad_request_fails_alone(wire: Wire) -> None:
    good = [ids[None] for ids in random_texts([*range(1, 29), 64, 81, 257])]  # 31, and the bad one
    alone = [wire.embed([ids])[0] for ids in good]
    bad = {
        "too long": np.zeros((1, 2049), np.int64),
        "empty": np.zeros((1, 0), np.int64),
        "negative": np.array([[1, -1, 2]], np.int64),
        "outside the vocabulary": np.array([[1, 260, 2]], np.int64),
    }
    for name, ids in bad.items():
        futures = [wire.send(text) for text in good[:16]]
        refused = wire.send(ids)
        futures += [wire.send(text) for text in good[16:]]
        with pytest.raises(InferenceServerException, match="input_ids") as error:
            refused.result(60)
        assert "INVALID_ARGUMENT" in str(error.value.status()), name
        for future, expected in zip(futures, alone, strict=True):
            np.testing.assert_array_equal(future.result(60), expected)
    assert wire.client.is_model_ready(wire.model)


def test_wrong_types_are_refused_by_triton(wire: Wire) -> None:
    with pytest.raises(InferenceServerException, match="INT64"):
        wire.send(np.zeros((1, 3), np.int32), "INT32").result(60)
    with pytest.raises(InferenceServerException, match=r"batch-size must be <= 64|batch size"):
        wire.send(np.zeros((65, 3), np.int64)).result(60)
    with pytest.raises(InferenceServerException, match="shape"):
        wire.send(np.zeros((1, 1, 3), np.int64)).result(60)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_32_concurrent_clients_get_the_bits_of_a_text_alone(either: Triton, wire: Wire, protocol: str) -> None:
    url = either.grpc_url if protocol == "grpc" else either.http_url
    random = np.random.default_rng(4)
    texts = ["x" * int(length) for length in random.integers(1, 300, 32)]
    with Client(url, concurrency=1) as one:
        alone = [one.encode_document(text) for text in texts]
    before = wire.settled_batches()

    def embed(seed: int) -> None:
        order = np.random.default_rng(seed).permutation(len(texts))
        with Client(url, concurrency=4) as client:
            rows = client.encode_document([texts[i] for i in order])
        for row, i in zip(rows, order, strict=True):
            np.testing.assert_array_equal(row, alone[i])

    for _attempt in range(10):  # requests may trickle in on a busy machine
        with ThreadPoolExecutor(32) as pool:
            list(pool.map(embed, range(32)))
        after = wire.settled_batches()
        largest = max(size for size in after if after[size] > before.get(size, 0))
        if largest > 4:
            break
    assert largest > 4, "nothing was batched"


def test_queries_with_one_instruction_get_the_bits_of_the_graph_alone(triton: Triton, repository: Path) -> None:
    """The server computes the instruction once; the graph, run here on one query at a time, knows nothing of that."""
    graph = PackedSession(repository / "qwen3_embedding")
    questions = [
        f"What is the capital of {place}?"
        for place in ["France", "Peru", "Japan", "Chad", "Oman", "Fiji", "Laos", "Mali"]
    ]
    with Client(triton.grpc_url) as client:
        for texts in (questions[:1], questions[1:2], questions, questions):
            rows = client.encode_query(texts)
            expected = [graph.embed([ids])[0] for ids in client.tokenize(texts, kind="query")]
            np.testing.assert_array_equal(rows, expected)


def test_documents_of_one_query_get_the_scores_of_the_graph_alone(triton: Triton, repository: Path) -> None:
    graph = PackedSession(repository / "qwen3_reranker")
    documents = [f"{place} is where nobody has ever been." * (1 + i % 3) for i, place in enumerate("abcdefghijkl")]
    with Client(triton.grpc_url) as client:
        for query in ("Where is it?", "Who has been there?", "Where is it?"):
            pairs = [(query, document) for document in documents]
            expected = [graph.run([ids])["score"][0, 0] for ids in client.tokenize_pairs(pairs)]
            np.testing.assert_array_equal(client.score(pairs), expected)
