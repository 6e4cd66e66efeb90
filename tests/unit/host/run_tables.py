"""Runs the engine for GPUs on a processor, with genuine bindings of ONNX Runtime; started by test_gpu_memory.py.

The graph has the inputs and outputs of a reranker's, and rows that are large and say nothing. It writes the bytes that
the process holds more after five tables than before the first one, and the bytes of a table.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import psutil
from onnx import TensorProto, helper, numpy_helper
from qwen3_serve.host.cuda_engine import CudaEngine

ROW = 100_000  # numbers
QUERY, PAIRS, TOKENS = 100, 40, 200
TABLE_BYTES = TOKENS * ROW * 4


def graph() -> bytes:
    """Return a model whose new rows are ones, and whose table is made as a reranker's is."""
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["tokens"])
    lengths = helper.make_tensor_value_info("lengths", TensorProto.INT32, ["batch", 1])
    optional: dict[str, tuple[npt.NDArray[Any], list[str | int]]] = {
        "prefix_rows": (np.zeros((0, ROW), np.float32), ["rows", ROW]),
        "prefix_starts": (np.zeros((0, 1), np.int64), ["shared", 1]),
        "prefix_lengths": (np.zeros((0, 1), np.int64), ["shared", 1]),
        "keep": (np.zeros(0, np.int64), ["kept"]),
        "arrange": (np.zeros(0, np.int64), ["arranged"]),
    }
    nodes = [
        helper.make_node("Cast", ["lengths"], ["logit"], to=TensorProto.FLOAT),
        helper.make_node("Shape", ["keep"], ["count"]),
        helper.make_node("Concat", ["count", "row"], ["shape"], axis=0),
        helper.make_node("Expand", ["one", "shape"], ["new"]),
        helper.make_node("Concat", ["prefix_rows", "new"], ["all"], axis=0),
        helper.make_node("Gather", ["all", "arrange"], ["kept"], axis=0),
    ]
    constants: dict[str, npt.NDArray[Any]] = {"row": np.array([ROW], np.int64), "one": np.ones((1, 1), np.float32)}
    defaults = {name: array for name, (array, _) in optional.items()}
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), shape)
        for name, (array, shape) in optional.items()
    ]
    outputs = [
        helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["batch", 1]),
        helper.make_tensor_value_info("kept", TensorProto.FLOAT, ["arranged", ROW]),
    ]
    weights = [numpy_helper.from_array(array, name) for name, array in (defaults | constants).items()]
    made = helper.make_graph(nodes, "table", [ids, lengths, *inputs], outputs, weights)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


class OnProcessor:
    """A binding that puts on the processor what is bound to a GPU."""

    def __init__(self, binding: Any) -> None:  # noqa: ANN401
        self.binding = binding

    def bind_output(self, name: str, _device: str, _index: int, *memory: Any) -> None:  # noqa: ANN401
        self.binding.bind_output(name, "cpu", 0, *memory)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self.binding, name)


class Session:
    """A session with such bindings, which counts the tables that it returns."""

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.enable_cpu_mem_arena = False  # so that the process gives memory back when ONNX Runtime does
        options.intra_op_num_threads = 1
        options.log_severity_level = 3  # it warns of initializers that are inputs
        self._session = ort.InferenceSession(graph(), options, providers=["CPUExecutionProvider"])
        self.tables = 0

    def get_outputs(self) -> Any:  # noqa: ANN401
        return self._session.get_outputs()

    def io_binding(self) -> Any:  # noqa: ANN401
        return OnProcessor(self._session.io_binding())

    def run_with_iobinding(self, binding: Any) -> None:  # noqa: ANN401
        self._session.run_with_iobinding(binding.binding)
        self.tables += binding.get_outputs()[-1].shape()[-1] == ROW


def pairs(query: int) -> list[npt.NDArray[np.int64]]:
    shared = np.full(QUERY, query)
    return [np.append(shared, 1000 + number) for number in range(PAIRS)]


session: Any = Session()
engine = CudaEngine(session, max_batch_tokens=16_384, prefix_cache_tokens=TOKENS)
process = psutil.Process()
before = process.memory_info().rss
for query in range(5):
    engine.run(pairs(query))
assert session.tables == 5
print(process.memory_info().rss - before, TABLE_BYTES)
