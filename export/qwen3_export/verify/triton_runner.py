"""Running texts on a Triton server over gRPC, with a time-out for every call.

The only module of verify that imports tritonclient.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import numpy as np
import tritonclient.grpc as grpc
from tritonclient.utils import InferenceServerException

from ..model_directory.manifest import sha256
from .cases import Ids
from .errors import VerifyError
from .model_directory import OUTPUTS, TOKENIZER, ModelDirectory
from .runner import Rows, Together

_CONTROL_TIMEOUT_S = 10.0
_INFER_TIMEOUT_S = 600.0
_ATTEMPTS = 3  # to make Triton run all texts of a batch at once
_PLUGS = 2  # requests that keep the model busy while the texts of a batch gather in its queue

# Triton counts a batch a moment after it has answered it.
_POLL_S = 0.05
_COUNTED_S = 10.0

T = TypeVar("T")


class TritonRunner:
    """A `Runner` that sends each text as a request of its own; Triton batches them."""

    def __init__(self, url: str, model: ModelDirectory) -> None:
        """Connect, and check that the server serves this export and no other.

        Args:
            url: The host:port of gRPC.
            model: The export that the server must serve.

        Raises:
            VerifyError: No server answers, or it serves something else.
        """
        self._url = url
        self._model = model
        self._client: Any = grpc.InferenceServerClient(url)
        try:
            self._check()
        except BaseException:
            self.close()
            raise

    def alone(self, ids: Ids) -> Rows:
        """See `Runner`."""
        return self._wait([self._send(ids)])

    def together(self, batch: Sequence[Ids]) -> Together:
        """See `Runner`.

        Triton would run the first text at once and alone. So some copies of the longest text are sent before the batch,
        and while they run, the texts of the batch gather in the queue.
        """
        longest = max(batch, key=len)
        best: Together | None = None
        for _ in range(_ATTEMPTS):
            before = self._settled_batches()
            plugs = [self._send(longest) for _ in range(_PLUGS)]
            rows = self._wait([self._send(ids) for ids in batch])
            self._wait(plugs)
            after = self._batches_once(_texts(before) + len(batch) + _PLUGS)
            batched = sum(size * (n - before.get(size, 0)) for size, n in after.items() if size > 1)
            shared = min(len(batch), max(0, batched))
            if best is None or shared > best.shared:
                best = Together(rows, shared)
            if shared == len(batch):
                break
        assert best is not None  # noqa: S101 - there is at least one attempt
        return best

    def close(self) -> None:
        """See `Runner`."""
        self._client.close()

    def _check(self) -> None:
        config = self._call(
            lambda: self._client.get_model_config(self._model.name, as_json=True, client_timeout=_CONTROL_TIMEOUT_S)
        )["config"]
        parameters = config.get("parameters", {})
        expected = {
            "source": self._model.source,
            "revision": self._model.revision,
            "precision": self._model.precision,
            "tokenizer_sha256": sha256(self._model.path / TOKENIZER),
        }
        for key, value in expected.items():
            # Protobuf's JSON leaves out empty strings.
            served = parameters.get(key, {}).get("string_value", "")
            if served != value:
                raise VerifyError(
                    f"{self._url} serves another {self._model.name}: its {key} is {served!r}, but that of "
                    f"{self._model.path} is {value!r}; give the repository that it serves with --repository, or start "
                    "the server again"
                )

    def _send(self, ids: Ids) -> Future[Rows]:
        tensor = grpc.InferInput("input_ids", [1, ids.size], "INT64")
        tensor.set_data_from_numpy(ids[None])
        names = OUTPUTS[self._model.kind]
        future: Future[Rows] = Future()

        def done(result: Any, error: InferenceServerException | None) -> None:  # noqa: ANN401
            try:
                if error is not None:
                    raise error
                future.set_result(np.concatenate([result.as_numpy(name) for name in names], axis=1))
            except Exception as failure:  # noqa: BLE001 - every error must reach the thread that waits for the future
                future.set_exception(failure)

        self._client.async_infer(
            self._model.name,
            [tensor],
            done,
            outputs=[grpc.InferRequestedOutput(name) for name in names],
            client_timeout=_INFER_TIMEOUT_S,
        )
        return future

    def _wait(self, futures: Sequence[Future[Rows]]) -> Rows:
        # A little longer than the time-out of the call itself, whose error has more details.
        return self._call(lambda: np.concatenate([future.result(_INFER_TIMEOUT_S + 10) for future in futures]))

    def _settled_batches(self) -> dict[int, int]:
        """Return how many batches of each size Triton has run, once it counts no more of them."""
        deadline = time.monotonic() + _COUNTED_S
        counts = [self._batches()]
        while counts[-3:] != [counts[-1]] * 3 and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            counts.append(self._batches())
        return counts[-1]

    def _batches_once(self, texts: int) -> dict[int, int]:
        """Return how many batches of each size Triton has run, once they hold a number of texts."""
        deadline = time.monotonic() + _COUNTED_S
        while _texts(counts := self._batches()) < texts and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        return counts

    def _batches(self) -> dict[int, int]:
        """Return how many batches of each size Triton has counted so far."""
        statistics = self._call(
            lambda: self._client.get_inference_statistics(
                self._model.name, as_json=True, client_timeout=_CONTROL_TIMEOUT_S
            )
        )
        return {
            int(batch["batch_size"]): int(batch["compute_infer"].get("count", 0))
            for batch in statistics["model_stats"][0].get("batch_stats", [])
        }

    def _call(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except InferenceServerException as error:
            status = str(error.status()).removeprefix("StatusCode.")
            reason = " ".join(str(error.message() or "").split())
            if status == "UNAVAILABLE" and "exceeds maximum queue" not in reason.lower():
                message = f"no server answers at {self._url}; start one with `qwen3-triton serve`, or correct --url"
            elif status == "DEADLINE_EXCEEDED":
                message = f"{self._url} did not answer within {_INFER_TIMEOUT_S:.0f} s; try a lower --max-tokens"
            elif status in ("NOT_FOUND", "INVALID_ARGUMENT") and "model" in reason and "input" not in reason:
                message = (
                    f"{self._url} serves no model {self._model.name} ({reason}); start the server on this repository"
                )
            else:
                message = f"{self._url} failed: {status}: {reason}"
            raise VerifyError(message) from None
        except (TimeoutError, ValueError, TypeError, KeyError) as error:
            raise VerifyError(
                f"{self._url} sent an answer that is not valid ({type(error).__name__}: {error}); is it Triton's gRPC "
                "port?"
            ) from None


def _texts(batches: Mapping[int, int]) -> int:
    return sum(size * count for size, count in batches.items())
