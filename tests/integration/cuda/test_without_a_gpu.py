"""CUDA exports in the CUDA provider of genuine onnxruntime-gpu, over stub libraries: run by `make test-cuda`.

Nothing is computed, so this says nothing about results; `tests/integration/export/test_cuda.py` does. It says what the
provider decides without a GPU: that it has a kernel for every node, takes every input, and how often it launches,
copies and waits. A change of the graph that adds a launch, a copy or a wait fails here.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from qwen3_export.checkpoint.geometry import Geometry
from qwen3_export.checkpoint.random_checkpoint import published_config
from qwen3_export.kind import Kind
from qwen3_export.precision import FOR_CUDA, Precision
from qwen3_export.target import ATTENTIONS, Attention, choose_target
from support.cuda_graphs import LAYERS, write_graph
from support.cuda_stub import INSTALLED, installed_releases
from support.cuda_trace import Trace, read_traces

from bench.gpu.kernels import kind_of, modelled_kinds
from bench.gpu.model import layer_kernels

pytestmark = pytest.mark.cuda

BATCHES = {
    "32 texts of 512 tokens": [512] * 32,
    "skewed": [8192] + [16] * 31,
    "one query": [16],
    "256 texts": [64] * 256,
}
DIMENSIONS = {"0.6B": 1024, "4B": 2560, "8B": 4096}


@dataclass(frozen=True, slots=True)
class Budget:
    """What a batch may do, at most.

    Attributes:
        layer: Launches of one layer.
        around: Launches before the first layer and after the last one, of a reranker; an embedding model has fewer.
        waits: Waits for the GPU in one layer. In a batch, the provider adds two at the end.
        reads: Copies from the GPU in one layer, which the operator makes itself.
        attention_rows: Queries of one block of the attention kernel.
    """

    layer: int
    around: int
    waits: int
    reads: int
    attention_rows: int


# Before 1.29, PagedAttention reads the lengths back in every layer. GroupQueryAttention waits twice, in every release.
BUDGETS: dict[tuple[Attention, bool], Budget] = {
    ("paged", False): Budget(layer=24, around=13, waits=1, reads=1, attention_rows=64),
    ("paged", True): Budget(layer=18, around=12, waits=0, reads=0, attention_rows=64),
    ("gqa", False): Budget(layer=28, around=18, waits=2, reads=0, attention_rows=128),
    ("gqa", True): Budget(layer=26, around=15, waits=2, reads=0, attention_rows=128),
}
CONVERSIONS = 4  # of a layer, around its norms; a residual stream in bf16 has none, and one more after the last layer
COPIES_TO_GPU = {"paged": 7, "gqa": 10}  # ids, indices and lengths: each once in a batch


def test_releases_are_installed() -> None:
    assert len(installed_releases()) >= 2, "install them with `make test-cuda`"


@pytest.mark.parametrize("kind", ["embedding", "reranker"])
@pytest.mark.parametrize("precision", FOR_CUDA)
@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("size", DIMENSIONS)
@pytest.mark.parametrize("release", installed_releases())
def test_every_batch_keeps_its_budget(
    tmp_path: Path,
    stubs: Callable[[str], Path],
    release: str,
    size: str,
    attention: Attention,
    precision: Precision,
    kind: Kind,
) -> None:
    target = choose_target(device="cuda", precision=precision, ort_version=release, attention=attention)
    model, result, trace = (tmp_path / name for name in ("model.onnx", "result.json", "trace"))
    write_graph(model, size=size, kind=kind, precision=precision, target=target)
    worker = Path(__file__).with_name("run_batches.py")
    arguments = [str(INSTALLED / release), str(model), json.dumps(list(BATCHES.values())), str(result)]
    environment = os.environ | {"LD_LIBRARY_PATH": str(stubs(release)), "STUB_TRACE": str(trace)}
    run = subprocess.run(
        [sys.executable, str(worker), *arguments], env=environment, capture_output=True, text=True, timeout=200
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(result.read_text())
    assert found["version"] == release

    on_processor = {kind for node in found["nodes"] if "CPU" in node["provider"] for kind in node["types"]}
    assert on_processor <= {"bool", "int32", "int64"}, "only integers may be computed on the processor"
    half_residual = precision == "bf16-residual"
    budget = BUDGETS[attention, target.has_silu]
    if half_residual:
        budget = replace(budget, layer=budget.layer - CONVERSIONS, around=budget.around + 1)
    rows = 1 if kind == "reranker" else DIMENSIONS[size]
    for lengths, shapes, batch in zip(BATCHES.values(), found["shapes"], read_traces(trace), strict=True):
        assert shapes == [[len(lengths), rows]] * (2 if kind == "reranker" else 1)
        check(batch, lengths, budget, attention, outputs=len(shapes))
        if attention == "paged":
            geometry = Geometry.from_config(published_config(size))
            kernels = layer_kernels(geometry, target, sum(lengths), max(lengths), half_residual=half_residual)
            kinds = modelled_kinds(kernels)
            assert kinds_of(batch.layer) == {kind: len(kernels) for kind, kernels in kinds.items()}


def kinds_of(trace: Trace) -> dict[str, int]:
    """Count what was launched by kind, as `python -m bench.gpu` does on a GPU."""
    return dict(Counter("products" if name == "product" else kind_of(name) for name in trace.launched))


def check(batch: Trace, lengths: list[int], budget: Budget, attention: Attention, *, outputs: int) -> None:
    """Hold one batch to its budget."""
    assert batch.layer.launches <= budget.layer
    assert batch.launches <= LAYERS * budget.layer + budget.around
    assert batch.waits <= LAYERS * budget.waits + 2
    assert len(batch.copies("device-to-host")) <= LAYERS * budget.reads + outputs
    # Rerankers have one of nothing, the empty table of prefixes.
    assert sum(size > 0 for size in batch.copies("host-to-device")) <= COPIES_TO_GPU[attention]
    assert len(batch.attention) == LAYERS
    blocks = -(-max(lengths) // budget.attention_rows)
    assert {(x, y) for x, y, _ in batch.attention} == {(blocks, len(lengths))}
    assert set(batch.cudnn_calls) <= {"cudnnCreate", "cudnnSetStream"}, "cuDNN's kernels are not needed"
