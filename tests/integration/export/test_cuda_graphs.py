"""The embedded host with CUDA graphs, as far as a machine without a GPU can tell: what is computed.

A stand-in for the session runs the exported graph in ONNX's reference evaluator, and does what ONNX Runtime and CUDA do
with a `gpu_graph_id`: the first run captures the addresses of what is on the GPU and the values of what is not, and
later runs read those and nothing else.
"""

import ctypes
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from qwen3_client.fingerprint import from_number
from qwen3_export import export
from qwen3_export.precision import FOR_CUDA, Precision
from qwen3_serve.host.captured_engine import GRAPH, LENGTHS, CapturedEngine, wants_cuda_graphs
from support.checkpoints import Shape, make_checkpoint
from support.contrib_operators import HalfSession
from support.oracle import random_texts, reference_embeddings


class Binding:
    """Inputs and the output of a run."""

    def __init__(self) -> None:
        self.on_gpu: dict[str, ort.OrtValue] = {}
        self.given: dict[str, npt.NDArray[Any]] = {}
        self.output: Any = None

    def bind_ortvalue_input(self, name: str, value: ort.OrtValue) -> None:
        self.on_gpu[name] = value

    def bind_cpu_input(self, name: str, array: npt.NDArray[Any]) -> None:
        self.given[name] = array

    def bind_input(self, name: str, _device: str, _gpu: int, dtype: Any, shape: Any, address: int) -> None:  # noqa: ANN401
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self.given[name] = np.frombuffer(_memory(address, size), dtype).reshape(shape).copy()

    def bind_ortvalue_output(self, _name: str, value: ort.OrtValue) -> None:
        self.output = value.update_inplace

    def bind_output(self, _name: str, _device: str, _gpu: int, dtype: Any, shape: Any, address: int) -> None:  # noqa: ANN401
        memory = np.frombuffer(_memory(address, int(np.prod(shape)) * 4), dtype).reshape(shape)
        self.output = lambda rows: np.copyto(memory, rows)


class Session:
    """The exported graph in the reference evaluator, with CUDA graphs."""

    def __init__(self, graph: Path) -> None:
        self.half = HalfSession(graph)
        self.model = onnx.load(graph, load_external_data=False)
        self.captured: dict[str, tuple[dict[str, Any], dict[str, npt.NDArray[Any]], Any]] = {}
        self.replays = self.computed = 0
        self.forgets = False  # a fault: replays read what was there when the graph was captured

    def get_inputs(self) -> list[SimpleNamespace]:
        shapes = {each.name: [d.dim_value for d in each.type.tensor_type.shape.dim] for each in self.model.graph.input}
        return [SimpleNamespace(name=name, shape=shape) for name, shape in shapes.items()]

    def get_outputs(self) -> list[SimpleNamespace]:
        (output,) = self.model.graph.output
        size = output.type.tensor_type.shape.dim[1].dim_value
        return [SimpleNamespace(name=output.name, shape=["batch", size], type="tensor(float)")]

    def get_modelmeta(self) -> SimpleNamespace:
        return SimpleNamespace(custom_metadata_map={each.key: each.value for each in self.model.metadata_props})

    def io_binding(self) -> Binding:
        return Binding()

    def run_with_iobinding(self, binding: Binding, options: ort.RunOptions) -> None:
        graph = options.get_run_config_entry("gpu_graph_id")
        if graph == "-1":
            self.computed += 1
            self._run({**_read(binding.on_gpu), **binding.given}, binding.output)
            return
        if graph not in self.captured:
            on_gpu = _read(binding.on_gpu) if self.forgets else binding.on_gpu
            given = {name: array.copy() for name, array in binding.given.items()}
            self.captured[graph] = (on_gpu, given, binding.output)
        else:
            self.replays += 1
        on_gpu, given, output = self.captured[graph]
        self._run({**(on_gpu if self.forgets else _read(on_gpu)), **given}, output)

    def _run(self, inputs: dict[str, npt.NDArray[Any]], output: Any) -> None:  # noqa: ANN401
        (rows,) = self.half.evaluated(inputs).values()
        output(np.ascontiguousarray(rows))


def _read(values: dict[str, ort.OrtValue]) -> dict[str, npt.NDArray[Any]]:
    return {name: value.numpy().copy() for name, value in values.items()}


def _memory(address: int, size: int) -> Any:  # noqa: ANN401
    return (ctypes.c_char * size).from_address(address)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"), Shape())


def version_of(checkpoint: Path, repository: Path, **options: Any) -> Path:  # noqa: ANN401
    return export(str(checkpoint), repository=repository, device="cuda", **options).directory / "1"


@pytest.mark.parametrize("release", ["1.29", "1.31"])
@pytest.mark.parametrize("precision", FOR_CUDA)
def test_vectors_are_those_of_the_graph_that_computes_its_indices(
    checkpoint: Path, tmp_path: Path, release: str, precision: Precision
) -> None:
    version = version_of(checkpoint, tmp_path, precision=precision, ort_version=release)
    session = Session(version / GRAPH)
    engine = CapturedEngine(session, max_batch_tokens=16_384, device="cpu")
    captured, session.replays = session.replays, 0
    assert captured == len(LENGTHS), "a length is not captured when the engine is ready"
    texts = random_texts([1, 15, 16, 17, 200, 256, 257, 600])
    usual = HalfSession(version / "model.onnx")
    stated = json.loads((version.parent / "manifest.json").read_text())["fingerprint"]
    for ids in texts:
        vector, fingerprint = engine.run([ids])
        assert (vector * usual.run([ids])["embedding"]).sum() > 0.9999
        assert from_number(int(fingerprint.item())) == stated
    assert (session.replays, session.computed) == (6, 2), "texts of up to 256 tokens replay a graph"
    together, _ = engine.run(texts)
    assert (together * reference_embeddings(checkpoint, texts)).sum(axis=1).min() > 0.999
    assert session.computed == 3
    assert engine.outputs == ("embedding", "fingerprint")
    if precision == "bf16":
        engine.check()


def test_replays_that_do_not_read_their_input_are_found(checkpoint: Path, tmp_path: Path) -> None:
    session = Session(version_of(checkpoint, tmp_path, ort_version="1.31") / GRAPH)
    session.forgets = True
    engine = CapturedEngine(session, max_batch_tokens=16_384, device="cpu")
    with pytest.raises(RuntimeError, match=r"CUDA graphs compute something else.*cuda_graphs in .* to false"):
        engine.check()


def test_the_graph_shares_the_file_of_the_weights_and_is_in_the_manifest(checkpoint: Path, tmp_path: Path) -> None:
    version = version_of(checkpoint, tmp_path, ort_version="1.31")
    onnx.checker.check_model(str(version / GRAPH), full_check=True)
    graphs = [onnx.load(version / name, load_external_data=False).graph for name in ("model.onnx", GRAPH)]
    stored = [
        {
            tensor.name: [(entry.key, entry.value) for entry in tensor.external_data]
            for tensor in graph.initializer
            if tensor.external_data
        }
        for graph in graphs
    ]
    assert stored[0] == stored[1]
    assert not any(node.op_type in ("CumSum", "Shape", "Range") for node in graphs[1].node)
    files = json.loads((version.parent / "manifest.json").read_text())["files"]
    assert f"1/{GRAPH}" in files


@pytest.mark.parametrize(
    "options",
    [{"ort_version": "1.28"}, {"ort_version": "1.31", "attention": "gqa"}, {"ort_version": "1.31", "kind": "reranker"}],
    ids=["1.28", "gqa", "reranker"],
)
def test_other_exports_have_no_such_graph_and_the_setting_says_so(tmp_path: Path, options: dict[str, Any]) -> None:
    version = version_of(Path("tiny"), tmp_path, **options)
    assert not (version / GRAPH).exists()
    assert not wants_cuda_graphs({"cuda_graphs": "false"}, version)
    assert not wants_cuda_graphs({}, version), "configurations of earlier releases"
    with pytest.raises(ValueError, match=r"cuda_graphs is true, but .*1\.29 or newer.*or set cuda_graphs to false"):
        wants_cuda_graphs({"cuda_graphs": "true"}, version)
    with pytest.raises(ValueError, match="cuda_graphs must be true or false, not yes"):
        wants_cuda_graphs({"cuda_graphs": "yes"}, version)
