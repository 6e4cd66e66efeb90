"""Rerankers' shared prefixes in the CUDA provider of genuine onnxruntime-gpu, over stub libraries: `make test-cuda`.

Nothing is computed; `tests/integration/export/test_paged_prefixes.py` has the results. This shows what prefixes cost:
nothing where there are none, two launches in a layer where there are, and no copy between processor and GPU that grows
with a prefix.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir
import pytest
from qwen3_export.checkpoint.geometry import Geometry
from qwen3_export.checkpoint.random_checkpoint import published_config
from qwen3_export.precision import FOR_CUDA, Precision
from qwen3_export.target import choose_target
from support.cuda_graphs import LAYERS, write_graph
from support.cuda_stub import INSTALLED, installed_releases
from support.cuda_trace import Trace, read_traces

from bench.gpu.kernels import kind_of, modelled_kinds
from bench.gpu.model import layer_kernels

pytestmark = pytest.mark.cuda

PREFIX, DOCUMENT, PAIRS = 85, 32, 64  # as in run_prefixes.py
# Launches of a run that keeps rows, more than those of one that does not: a layer's, and those around the layers.
KEEPING_LAYER, KEEPING_AROUND = 2, 25
SHARING_AROUND = 8  # more than those of a run without prefixes


@pytest.mark.parametrize("precision", FOR_CUDA)
@pytest.mark.parametrize("size", ["0.6B", "8B"])
@pytest.mark.parametrize("release", installed_releases())
def test_prefixes_keep_their_budget(
    tmp_path: Path, stubs: Callable[[str], Path], release: str, size: str, precision: Precision
) -> None:
    target = choose_target(device="cuda", precision=precision, ort_version=release)
    model, result, trace = (tmp_path / name for name in ("model.onnx", "result.json", "trace"))
    write_graph(model, size=size, kind="reranker", precision=precision, target=target)
    worker = Path(__file__).with_name("run_prefixes.py")
    environment = os.environ | {"LD_LIBRARY_PATH": str(stubs(release)), "STUB_TRACE": str(trace)}
    command = [sys.executable, str(worker), str(INSTALLED / release), str(model), str(result)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert run.returncode == 0, run.stderr
    found = json.loads(result.read_text())
    assert set(found["on_processor"]) <= {"bool", "int32", "int64"}, "only integers are computed on the processor"
    tensors = [value.const_value for value in ir.load(model).graph.initializers.values()]
    stored = sum(tensor.nbytes for tensor in tensors if tensor is not None)
    assert 0.9 * stored < found["weight_bytes"] < 1.01 * stored, "three branches hold the weights once"

    runs = found["runs"]
    tokens = [inputs["input_ids"][0] for inputs in runs]
    whole, rest = PREFIX + DOCUMENT, (PAIRS - 1) * DOCUMENT
    two = (PAIRS - 2) * DOCUMENT
    assert tokens == [PAIRS * whole, whole, rest, whole, rest, 2 * whole, two]
    assert ["arrange" in inputs for inputs in runs] == [False, True, False, True, False, True, False]
    traces = read_traces(trace)
    plain, first, shared, second, again, both, _ = traces
    # Both are between two attentions: were all layers' caches gathered first, they would take the memory of all.
    assert shared.layer.launches == again.layer.launches == plain.layer.launches + 2
    assert shared.launches <= plain.launches + 2 * LAYERS + SHARING_AROUND
    assert first.layer.launches <= shared.layer.launches + KEEPING_LAYER
    for keeping in (first, second, both):
        assert keeping.launches <= shared.launches + KEEPING_LAYER * LAYERS + KEEPING_AROUND
    for batch in traces:
        assert batch.waits == plain.waits
        assert len(batch.copies("device-to-host")) == len(plain.copies("device-to-host"))
        assert not empty_grids(batch), "CUDA refuses to launch nothing"
        assert set(batch.cudnn_calls) <= {"cudnnCreate", "cudnnSetStream"}, "cuDNN's kernels are not needed"
        assert len(batch.attention) == LAYERS
    # The largest copies to the GPU are the ids, and what this host computes of each row: no keys and values.
    for batch, count in zip(traces, tokens, strict=True):
        assert max(batch.copies("host-to-device")) <= 8 * (count + PAIRS + PREFIX)

    geometry = Geometry.from_config(published_config(size))
    half_residual = precision == "bf16-residual"
    kernels = layer_kernels(geometry, target, rest, DOCUMENT, past=PREFIX, half_residual=half_residual)
    kinds = modelled_kinds(kernels)
    launched = Counter("products" if name == "product" else kind_of(name) for name in shared.layer.launched)
    assert dict(launched) == {kind: len(kernels) for kind, kernels in kinds.items()}


def empty_grids(batch: Trace) -> list[str]:
    return [event for event in batch.events if event.startswith("kernel ") and "0" in event.split()[1:4]]
