"""Requests as any Triton client could send them, past qwen3_client and its checks."""

import time
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

import numpy as np
import numpy.typing as npt
import tritonclient.grpc as grpc
from qwen3_serve import Triton
from tritonclient.utils import InferenceServerException

Ids = npt.NDArray[np.int64]


class Wire:
    """A raw gRPC connection to one model; ``timeout_s`` is for each request."""

    def __init__(self, url: str, model: str = "qwen3_embedding", *, timeout_s: int = 60) -> None:
        self.client = grpc.InferenceServerClient(url)
        self.model = model
        self.timeout_s = timeout_s

    def send(self, ids: npt.NDArray[np.generic], datatype: str = "INT64") -> Future[npt.NDArray[np.float32]]:
        """Send ``ids [b, n]`` without waiting; the future holds ``[b, dimensions]`` or the server's error."""
        tensor = grpc.InferInput("input_ids", list(ids.shape), datatype)
        tensor.set_data_from_numpy(ids)
        future: Future[npt.NDArray[np.float32]] = Future()

        def done(result: grpc.InferResult | None, error: InferenceServerException | None) -> None:
            if error is not None:
                future.set_exception(error)
            else:
                assert result is not None
                future.set_result(result.as_numpy("embedding"))

        self.client.async_infer(self.model, [tensor], done, client_timeout=self.timeout_s)
        return future

    def embed(self, texts: Sequence[Ids]) -> list[npt.NDArray[np.float32]]:
        """Send requests ``[b_i, n_i]`` at once and wait for all."""
        return [future.result(self.timeout_s) for future in [self.send(ids) for ids in texts]]

    def batches(self) -> dict[int, int]:
        """How many batches of which size Triton has counted so far."""
        statistics = self.client.get_inference_statistics(self.model, as_json=True)
        return {
            int(batch["batch_size"]): int(batch["compute_infer"]["count"])
            for batch in statistics["model_stats"][0].get("batch_stats", [])
        }

    def settled_batches(self) -> dict[int, int]:
        """How many batches of which size a server that is done has executed.

        Triton counts a batch a moment after it has answered it; so this reads until the counts no longer change.
        """
        readings = [self.batches()]
        while readings[-3:] != [readings[-1]] * 3:
            time.sleep(0.2)
            readings.append(self.batches())
        return readings[-1]

    def close(self) -> None:
        """Close the connection."""
        self.client.close()


def texts_of(batches: Mapping[int, int]) -> int:
    """The number of texts in batches, as `Wire.batches` gives them."""
    return sum(size * count for size, count in batches.items())


def texts_done(triton: Triton, *, settled: bool = True) -> int:
    """How many texts the server has embedded; if `settled`, once it has answered all that it was sent."""
    wire = Wire(triton.grpc_url)
    try:
        return texts_of(wire.settled_batches() if settled else wire.batches())
    finally:
        wire.close()


def metrics(triton: Triton) -> dict[str, float]:
    """The metrics of a server with one model, by name."""
    with urllib.request.urlopen(triton.metrics_url, timeout=30) as answer:  # noqa: S310
        lines = answer.read().decode().splitlines()
    return {line.split("{")[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}


def pending_requests(triton: Triton) -> int:
    """How many requests wait in Triton's queue."""
    return int(metrics(triton)["nv_inference_pending_request_count"])
