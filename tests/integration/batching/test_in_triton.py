"""The plugin in a real Triton: what its scheduler's batches hold, and that every text still gets its own row."""

import random
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpc
from qwen3_export import export
from qwen3_serve import ServeError, Triton
from support.oracle import random_texts
from support.wire import Wire

pytestmark = pytest.mark.compiler

RECORDER = Path(__file__).parent / "recorder" / "model.py"
CONFIG = """
backend: "python"
max_batch_size: 32
input [ {{ name: "input_ids" data_type: TYPE_INT64 dims: [ -1 ] allow_ragged_batch: true }} ]
output [ {{ name: "batch" data_type: TYPE_INT64 dims: [ 4 ] }} ]
instance_group [ {{ count: {instances} kind: KIND_CPU }} ]
dynamic_batching {{ {policy} }}
{parameters}
"""
POLICY = "default_queue_policy { max_queue_size: 1024 }"
MAX_BATCH_TOKENS = 100
MAX_SLOTS_PER_TOKEN = 1.5


def _parameters(**values: object) -> str:
    return "".join(f'parameters {{ key: "{key}" value {{ string_value: "{values[key]}" }} }}\n' for key in values)


def _add_recorder(repository: Path, name: str, parameters: str, *, instances: int = 1, policy: str = "") -> str:
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    shutil.copy(RECORDER, folder / "1" / "model.py")
    (folder / "config.pbtxt").write_text(CONFIG.format(instances=instances, policy=policy, parameters=parameters))
    return f"--load-model={name}"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, built: Path) -> Path:
    """The tiny model, with the plugin in its configuration for the python backend."""
    folder = tmp_path_factory.mktemp("exported")
    export("tiny", repository=folder)
    config = folder / "qwen3_embedding" / "configs" / "embedded.pbtxt"
    config.write_text(config.read_text() + _parameters(TRITON_BATCH_STRATEGY_PATH=built))
    return folder


@pytest.fixture(scope="module")
def triton(exported: Path, built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """That model, and four recorders: without the plugin and with it, in different queues."""
    folder = tmp_path_factory.mktemp("recorders")
    budget = _parameters(TRITON_BATCH_STRATEGY_PATH=built, max_batch_tokens=MAX_BATCH_TOKENS)
    padding = _parameters(max_slots_per_token=MAX_SLOTS_PER_TOKEN)
    arguments = [
        f"--model-repository={folder}",
        _add_recorder(folder, "unlimited", ""),
        _add_recorder(folder, "budget", budget),
        _add_recorder(folder, "padding", budget + padding),
        _add_recorder(folder, "policy", budget, instances=2, policy=POLICY),
    ]
    with Triton(exported, threads=1, arguments=arguments) as server:
        yield server


def _batches(triton: Triton, model: str, shapes: list[tuple[int, int]], gap_s: float) -> set[tuple[int, ...]]:
    """Send requests ``[texts, tokens]``, one every ``gap_s``; ``(when, tokens, texts, longest)`` of each batch."""
    client = grpc.InferenceServerClient(triton.grpc_url)
    answers: list[Future[grpc.InferResult]] = []
    for shape in shapes:
        tensor = grpc.InferInput("input_ids", list(shape), "INT64")
        tensor.set_data_from_numpy(np.zeros(shape, np.int64))
        answer: Future[grpc.InferResult] = Future()
        answers.append(answer)

        def done(
            result: grpc.InferResult, error: Exception | None, answer: "Future[grpc.InferResult]" = answer
        ) -> None:
            answer.set_exception(error) if error is not None else answer.set_result(result)

        client.async_infer(model, [tensor], done, client_timeout=60)
        time.sleep(gap_s)
    rows = [answer.result(60).as_numpy("batch") for answer in answers]
    client.close()
    assert [len(row) for row in rows] == [texts for texts, _ in shapes]
    batches = {tuple(map(int, row[0])) for row in rows}
    assert sum(texts for _, _, texts, _ in batches) == sum(texts for texts, _ in shapes)
    return batches


def _requests(count: int) -> list[tuple[int, int]]:
    choose = random.Random(7)
    return [(choose.choice([1, 1, 1, 2]), choose.choice([1, 5, 10, 20, 30, 60, 120])) for _ in range(count)]


@pytest.mark.parametrize("gap_s", [0.0, 0.001, 0.004])
@pytest.mark.parametrize("model", ["budget", "padding", "policy"])
def test_no_batch_exceeds_its_limits(triton: Triton, model: str, gap_s: float) -> None:
    """All at once, faster than they are served, and about as fast: queued, prefetched and fresh batches."""
    requests = _requests(150)
    batches = _batches(triton, model, requests, gap_s)
    largest = {texts * length for texts, length in requests if texts * length > MAX_BATCH_TOKENS}
    for _, tokens, texts, longest in batches:
        # What alone is larger than the budget runs alone.
        assert tokens <= MAX_BATCH_TOKENS or (tokens in largest and tokens == texts * longest and texts <= 2)
        if model == "padding":
            assert texts * longest <= MAX_SLOTS_PER_TOKEN * tokens
    assert len(batches) < len(requests)  # and there are batches at all


def test_without_the_plugin_they_do(triton: Triton) -> None:
    """The test above would see it."""
    batches = _batches(triton, "unlimited", _requests(150), 0.0)
    assert any(tokens > 240 for _, tokens, _, _ in batches)


def test_equal_texts_fill_the_budget_exactly(triton: Triton) -> None:
    batches = _batches(triton, "budget", [(1, 25)] * 60, 0.0)
    assert max(tokens for _, tokens, _, _ in batches) == MAX_BATCH_TOKENS


def test_rows_and_statistics_of_the_real_model(triton: Triton) -> None:
    """512 tokens hold five texts of 100; Triton's own statistics say so, and each text gets its own vector."""
    wire = Wire(triton.grpc_url)
    texts = [ids[None] for ids in random_texts([100] * 40)]
    alone = [wire.embed([text])[0] for text in texts]
    before = wire.settled_batches()
    for _attempt in range(10):  # requests may trickle in on a busy machine
        for own, expected in zip(wire.embed(texts), alone, strict=True):
            np.testing.assert_array_equal(own, expected)
        after = wire.settled_batches()
        largest = max(size for size in after if after[size] > before.get(size, 0))
        if largest >= 5:
            break
    wire.close()
    assert largest == 5


@pytest.mark.parametrize(
    ("parameters", "policy", "reason"),
    [
        ("", "", "needs the parameter max_batch_tokens"),
        (_parameters(max_batch_tokens="lots"), "", 'whole number of at least 1, such as "16384", not "lots"'),
        (_parameters(max_batch_tokens=5), "max_queue_delay_microseconds: 100", "remove the delay"),
    ],
)
def test_triton_says_why_it_does_not_load(
    exported: Path, built: Path, tmp_path: Path, parameters: str, policy: str, reason: str
) -> None:
    parameters += _parameters(TRITON_BATCH_STRATEGY_PATH=built)
    load = _add_recorder(tmp_path, "refused", parameters, policy=policy)
    server = Triton(exported, threads=1, arguments=[f"--model-repository={tmp_path}", load])
    with pytest.raises(ServeError), server:
        pass
    assert reason in server.log.replace('\\"', '"')
