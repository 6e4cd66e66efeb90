"""A request is answered once its own texts have run, while others of its batch still run."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from qwen3_client import Client
from qwen3_export import export
from qwen3_serve import Triton
from support.gateway import wait_until
from support.hosts import STEPWISE, replace_host
from support.oracle import random_texts
from support.wire import Wire, pending_requests
from tritonclient.utils import InferenceServerException

Ids = npt.NDArray[np.int64]
Answers = list[Future[npt.NDArray[np.float32]]]


class Stepwise:
    """A Triton whose host runs one packed batch at a time, when it is told to."""

    def __init__(self, triton: Triton, model: Path) -> None:
        self.triton = triton
        self.wire = Wire(triton.grpc_url)
        self._model = model

    def step(self, *, fail: bool = False) -> None:
        """Let the host go on to the next packed batch, or fail."""
        whole = self._model / "step.partial"
        whole.write_text("fail" if fail else "")
        whole.rename(self._model / "step")

    def go_on(self) -> None:
        """Let the host run without stops."""
        (self._model / "hold").unlink(missing_ok=True)

    def run_first(self, requests: Sequence[Ids]) -> Answers:
        """Send requests, and stop after the first packed batch of the one batch into which Triton puts them."""
        before = len(self._ran())
        (self._model / "hold").touch()
        busy = self.wire.send(np.array([[1, 2]]))
        self._wait_for(before + 1)
        answers = [self.wire.send(ids) for ids in requests]
        wait_until(lambda: pending_requests(self.triton) == len(requests), what="the requests do not wait")
        self.step()
        busy.result(60)
        self._wait_for(before + 2)
        assert self._ran()[-1] == sum(ids.shape[0] for ids in requests), "they are not one batch"
        return answers

    def _wait_for(self, batches: int) -> None:
        wait_until(lambda: len(self._ran()) >= batches, what=f"{batches} batches do not run")

    def _ran(self) -> list[int]:
        return [int(line) for line in (self._model / "ran").read_text().splitlines()]


@pytest.fixture(scope="module")
def stepwise(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stepwise]:
    folder = tmp_path_factory.mktemp("stepwise")
    model = export("tiny", repository=folder).directory
    replace_host(model, STEPWISE)
    with Triton(folder, threads=1) as triton:
        server = Stepwise(triton, model)
        yield server
        server.go_on()
        server.wire.close()


def test_short_texts_do_not_wait_for_long_ones(stepwise: Stepwise) -> None:
    long, middle, short, *others = random_texts([600, 510, 3, 5, 5, 300, 300])
    requests = [long[None], middle[None], short[None], np.stack(others[:2]), np.stack(others[2:])]
    answers = stepwise.run_first(requests)
    rows: dict[int, npt.NDArray[np.float32]] = {}
    # One of the texts of 300 tokens is in the first packed batch, and the other one in the second.
    for finished in ([2, 3], [4], [1]):
        rows |= {number: answers[number].result(60) for number in finished}
        assert [number for number, answer in enumerate(answers) if answer.done()] == sorted(rows)
        stepwise.step()
    stepwise.go_on()
    rows[0] = answers[0].result(60)
    for number, ids in enumerate(requests):
        alone = [stepwise.wire.embed([row[None]])[0] for row in ids]
        np.testing.assert_array_equal(rows[number], np.concatenate(alone))


def test_what_fails_later_does_not_harm_what_was_answered(stepwise: Stepwise) -> None:
    long, middle, short = (ids[None] for ids in random_texts([600, 510, 3], seed=1))
    first, second, third = stepwise.run_first([long, middle, short])
    rows = third.result(60)
    stepwise.step(fail=True)
    for answer in (first, second):
        with pytest.raises(InferenceServerException, match="the model failed: out of memory"):
            answer.result(60)
    stepwise.go_on()
    np.testing.assert_array_equal(stepwise.wire.embed([short])[0], rows)


def test_over_http_as_well(stepwise: Stepwise) -> None:
    texts = [ids.tolist() for ids in random_texts([600, 3, 500, 5, 700, 9], seed=2)]
    stepwise.go_on()
    with Client(stepwise.triton.http_url) as http, Client(stepwise.triton.grpc_url) as grpc:
        expected = np.concatenate([grpc.encode_tokens([ids]) for ids in texts])
        for _ in range(5):
            np.testing.assert_array_equal(http.encode_tokens(texts), expected)


def test_statistics_count_every_text_once(stepwise: Stepwise) -> None:
    stepwise.go_on()
    stepwise.wire.settled_batches()
    before = stepwise.wire.client.get_inference_statistics(stepwise.wire.model).model_stats[0]
    stepwise.wire.embed([ids[None] for ids in random_texts([600, 3, 500, 5], seed=3)])
    stepwise.wire.settled_batches()
    after = stepwise.wire.client.get_inference_statistics(stepwise.wire.model).model_stats[0]
    assert after.inference_count - before.inference_count == 4
    assert after.inference_stats.success.count - before.inference_stats.success.count == 4
    assert after.inference_stats.fail.count == before.inference_stats.fail.count
