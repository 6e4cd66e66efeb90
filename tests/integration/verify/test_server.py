"""``qwen3-triton verify --url``: the answers of a real Triton."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from qwen3_serve import Triton

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def triton(repository: Path) -> Iterator[Triton]:
    with Triton(repository, threads=1) as server:
        yield server


def test_a_running_server_passes(triton: Triton, repository: Path, run: Run) -> None:
    done = run(repository, "--url", triton.grpc_url)
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("3 of 3 models pass.\n")
    assert f"qwen3_embedding (fp32, {triton.grpc_url}) compared with transformers on" in done.out
    assert done.out.count("26 of 26 texts have the same bits") == 3
    assert done.out.count("(26 texts shared a batch)") == 3
    # What Triton leaves in the directory while it runs is no fault of the files.
    assert run(repository, "--files").code == 0


def test_a_server_that_serves_another_export_is_refused(triton: Triton, copy: Path, run: Run) -> None:
    path = copy / "qwen3_embedding" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "source": "Qwen/Qwen3-Embedding-0.6B"}))
    done = run(copy, "--url", triton.grpc_url)
    assert done.code == 1
    assert "serves another qwen3_embedding: its source is" in done.err


def test_a_model_that_the_server_does_not_have(triton: Triton, copy: Path, run: Run) -> None:
    (copy / "qwen3_embedding").rename(copy / "other")
    done = run(copy, "--url", triton.grpc_url)
    assert done.code == 1
    assert "serves no model other" in done.err
    assert done.err.count("\n") == 1


def test_no_server(repository: Path, run: Run) -> None:
    done = run(repository, "--name", "qwen3_embedding", "--url", "127.0.0.1:9")
    assert done.code == 1
    assert done.err == (
        "qwen3-triton verify: no server answers at 127.0.0.1:9; start one with `qwen3-triton serve`, or correct --url\n"
    )


def test_int8_results_that_are_farther_off_than_here_are_a_fault(
    repository: Path, tmp_path: Path, run: Run, state_again: Callable[[Path], None]
) -> None:
    """As saturated sums are. Here the served weights are disturbed, for this processor may compute exactly."""
    for folder in ("known", "served"):
        shutil.copytree(repository / "qwen3_embedding_int8", tmp_path / folder / "qwen3_embedding")
    disturb_int8_weights(tmp_path / "served" / "qwen3_embedding" / "1")
    state_again(tmp_path / "served" / "qwen3_embedding")
    with Triton(tmp_path / "served", threads=1) as server:
        done = run(tmp_path / "known", "--url", server.grpc_url, "--max-tokens", "300")
    assert done.code == 1
    assert "as far from the reference as this machine's: its sums saturate" in done.out


def disturb_int8_weights(folder: Path) -> None:
    """Add noise to the int8 matrices of a model, in place."""
    random = np.random.default_rng(0)
    weights = np.memmap(folder / "model.onnx.data", np.int8, "r+")
    matrices = 0
    for tensor in onnx.load(folder / "model.onnx", load_external_data=False).graph.initializer:
        location = {entry.key: entry.value for entry in tensor.external_data}
        if tensor.data_type == onnx.TensorProto.INT8 and location:
            matrices += 1
            matrix = weights[int(location["offset"]) :][: int(location["length"])]
            matrix[:] = np.clip(matrix + random.integers(-12, 13, matrix.size), -127, 127)
    assert matrices > 0
    weights.flush()


def test_a_server_that_never_batches_proves_nothing_about_batches(copy: Path, run: Run) -> None:
    served = copy.parent / "served"
    shutil.copytree(copy, served)
    for file in ("config.pbtxt", "configs/embedded.pbtxt"):
        path = served / "qwen3_embedding" / file
        path.write_text(path.read_text().replace("dynamic_batching", "# dynamic_batching"))
    with Triton(served, threads=1) as server:
        done = run(copy, "--url", server.grpc_url, "--max-tokens", "64")
    assert done.code == 1
    assert "the server ran every text alone, so batches were not compared" in done.out
    assert "qwen3_embedding: FAIL" in done.out
