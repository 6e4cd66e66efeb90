"""CUDA graphs of the embedded host in genuine onnxruntime-gpu, over stub libraries: run by `make test-cuda`.

Nothing is computed; `tests/integration/export/test_cuda_graphs.py` has the numbers. These tests show that ONNX Runtime
captures the graph, that nothing happens meanwhile that CUDA would refuse, and what is left to do for a query.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from qwen3_export.packed_directory import CUDA_GRAPHS
from qwen3_export.precision import FOR_CUDA, Precision
from qwen3_export.target import choose_target
from qwen3_serve.host.captured_engine import LENGTHS
from support.cuda_graphs import LAYERS, write_graph
from support.cuda_stub import INSTALLED, installed_releases
from support.cuda_trace import Trace, read_traces

pytestmark = pytest.mark.cuda

NEWEST = installed_releases()[-1:]
BATCHES = [[1], [16], [200], [257], [8192, 16, 16], [64] * 300]
REPLAYED = 3  # of these batches
LAYER = {"bf16": 18, "bf16-residual": 14, "fp16": 18}  # launches
AROUND = 8  # launches before the first layer and after the last one


def run(release: str, model: Path, libraries: Path, trace: Path) -> dict[str, Any]:
    worker = Path(__file__).with_name("run_captured.py")
    done = subprocess.run(
        [sys.executable, str(worker), str(INSTALLED / release), str(model), json.dumps(BATCHES)],
        env=os.environ | {"LD_LIBRARY_PATH": str(libraries), "STUB_TRACE": str(trace)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.parametrize("precision", FOR_CUDA)
@pytest.mark.parametrize("size", ["0.6B", "8B"])
@pytest.mark.parametrize("release", NEWEST)
def test_a_query_is_one_launch(
    tmp_path: Path, stubs: Callable[[str], Path], release: str, size: str, precision: Precision
) -> None:
    target = choose_target(device="cuda", precision=precision, ort_version=release)
    write_graph(tmp_path / "model.onnx", size=size, kind="embedding", precision=precision, target=target)
    trace = tmp_path / "trace"
    found = run(release, tmp_path / CUDA_GRAPHS, stubs(release), trace)
    assert [shape[0] for shape, *_ in found["shapes"]] == [len(batch) for batch in BATCHES]
    assert "set the parameter cuda_graphs in configs/embedded.pbtxt to false" in found["fault"], "nothing is computed"
    written = trace.read_text()
    assert "\nrefused" not in written, "CUDA refuses this while a stream is captured"
    assert written.count("\ncapture begins") == written.count("\ncapture ends") == len(LENGTHS)

    replays, computed = read_traces(trace)[:REPLAYED], read_traces(trace)[REPLAYED:]
    for batch in replays:
        (captured,) = graphs(batch)
        assert batch.launches == 0
        assert captured <= LAYERS * LAYER[precision] + AROUND + (precision == "bf16-residual")
        assert len(batch.copies("host-to-device")) == 2, "the ids, and the row that is pooled"
        assert len(batch.copies("device-to-host")) == 1, "the vector"
    for batch in computed:
        assert graphs(batch) == []
        assert batch.launches > LAYERS * 10


def graphs(batch: Trace) -> list[int]:
    """The launches of each CUDA graph that a batch replays."""
    return [int(match[1]) for event in batch.events if (match := re.fullmatch(r"graph (\d+)", event))]


@pytest.mark.parametrize("release", NEWEST)
def test_a_graph_with_its_integer_part_is_refused_when_it_is_loaded(
    tmp_path: Path, stubs: Callable[[str], Path], release: str
) -> None:
    """This is what the other graph is for; if ONNX Runtime ever takes it, that one can go."""
    target = choose_target(device="cuda", precision="bf16", ort_version=release)
    write_graph(tmp_path / "model.onnx", size="0.6B", kind="embedding", precision="bf16", target=target)
    found = run(release, tmp_path / "model.onnx", stubs(release), tmp_path / "trace")
    assert "cannot use the graph capture feature" in found["error"]
