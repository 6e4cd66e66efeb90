"""Time and memory for one long text, in one call and in chunks, from 1,024 tokens up.

    python bench/long_texts.py model_repository/qwen3_embedding 8192

The last argument is the longest length. With the 0.6B shape, 32,768 tokens take over an hour on two cores, and 9 GB of
memory.

The embedded host runs a text in one call. With chunks of 2,048 tokens per call, attention reads the keys and values of
earlier tokens from a cache that the caller passes from call to call. The graph for that is made here from `model.onnx`,
so that both use the same weights and kernels, ONNX Runtime's. The cache takes as little memory as possible: one buffer
per layer for the keys of the whole text, and one for the values, which each call extends in place. The third way is one
call of the graph that this machine runs, which is another one if the project's own operators work here.

Each length and way runs in its own process; the ways alternate. This measures ONNX Runtime only. Times are processor
time of all threads, which other work on the machine disturbs least. Memory is the peak of anonymous memory above that
of the loaded model.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnx_ir.passes.common
from qwen3_export.cpu import open_session
from qwen3_export.onnx_runtime import runtime

if TYPE_CHECKING:
    import onnxruntime as ort

CHUNK = 2048  # tokens
SHORTEST = 1024  # tokens
WAYS = ("one call", "chunks", "as served")

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one text.

    Attributes:
        processor_s: Processor time of all threads, in seconds.
        megabytes: Peak of anonymous memory above that of the loaded model.
    """

    processor_s: float
    megabytes: float


def main(directory: Path, longest: int) -> None:
    """Print one row of the table for 1,024 tokens, one for twice as many, and so on."""
    print("| tokens | one call | chunks | as served | one call | chunks | as served | chunks: largest difference |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    tokens = SHORTEST
    while tokens <= longest:
        costs, vectors = zip(*(in_own_process(directory, tokens, way) for way in WAYS), strict=True)
        seconds = " | ".join(f"{cost.processor_s:,.0f} s" for cost in costs)
        memory = " | ".join(f"{cost.megabytes:,.0f} MB" for cost in costs)
        print(f"| {tokens:,} | {seconds} | {memory} | {np.abs(vectors[0] - vectors[1]).max():.1e} |", flush=True)
        tokens *= 2


def in_own_process(directory: Path, tokens: int, way: str) -> tuple[Cost, Vector]:
    """Embed one text of random ids in a new process; returns its cost and its vector."""
    with tempfile.TemporaryDirectory() as folder:
        vector = Path(folder) / "vector.npy"
        command = [sys.executable, __file__, "--one", str(directory), str(tokens), way, str(vector)]
        output = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
        return Cost(*json.loads(output)), np.load(vector)


def one(directory: Path, tokens: int, way: str, target: Path) -> None:
    """Embed one text, print its cost, and save its vector to `target`."""
    ids = np.random.default_rng(0).integers(0, 250, tokens)
    path = directory / "1" / "model.onnx"
    if way == "as served":
        model = open_session(path)
    else:
        model = session(path.read_bytes() if way == "one call" else chunked(path), directory)
    embed = in_chunks if way == "chunks" else one_call
    loaded = anonymous_bytes()
    with watched(anonymous_bytes) as peak:
        started = time.process_time()
        vector = embed(model, ids)
        processor_s = time.process_time() - started
    np.save(target, vector)
    print(json.dumps([processor_s, (peak() - loaded) / 1e6]))


def session(model: bytes, directory: Path) -> ort.InferenceSession:
    """Open a graph with the weights of an export, with the embedded host's settings."""
    weights = {"session.model_external_initializers_file_folder_path": str(directory / "1")}
    return open_session(model, entries=weights)


def one_call(model: ort.InferenceSession, ids: npt.NDArray[np.int64]) -> Vector:
    """Embed a text in one call of the exported graph."""
    embedded: Vector = model.run(["embedding"], {"input_ids": ids, "lengths": lengths(ids)})[0][0]
    return embedded


def in_chunks(model: ort.InferenceSession, ids: npt.NDArray[np.int64]) -> Vector:
    """Embed a text in several calls of a graph from `chunked`, each of which extends the cache in place."""
    ort = runtime()
    binding = model.io_binding()
    (hidden,) = (output.shape[1] for output in model.get_outputs() if output.name == "embedding")
    vector = ort.OrtValue.ortvalue_from_numpy(np.empty((1, hidden), np.float32))
    binding.bind_ortvalue_output("embedding", vector)
    caches = []  # keeps the caches alive, which the binding may not do
    for past in (value for value in model.get_inputs() if value.name.startswith("past_")):
        _, heads, _, head_dim = past.shape
        # The system provides memory only when it is written to, so the unused part of the buffer costs nothing.
        cache = ort.OrtValue.ortvalue_from_numpy(np.empty((1, heads, ids.size, head_dim), np.float32))
        caches.append(cache)
        binding.bind_ortvalue_input(past.name, cache)
        binding.bind_ortvalue_output(past.name.replace("past_", "present_"), cache)
    for start in range(0, ids.size, CHUNK):
        chunk = ids[start : start + CHUNK]
        end = start + chunk.size
        binding.bind_cpu_input("input_ids", chunk)
        binding.bind_cpu_input("lengths", lengths(chunk))
        binding.bind_cpu_input("last_position", np.array([end - 1], np.int32))
        binding.bind_cpu_input("total", np.array(end, np.int32))
        model.run_with_iobinding(binding)
    embedded: Vector = vector.numpy()[0].copy()  # numpy() is a view that does not keep its memory
    return embedded


def lengths(ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Return the lengths of a batch that is one text."""
    return np.array([[ids.size]], np.int32)


def chunked(path: Path) -> bytes:
    """Change an exported embedding graph to take one chunk of one text, and the cache of the chunks before.

    New inputs: `last_position` INT32 `[1]`, the position of the chunk's last token in the text; `total` INT32, the
    number of tokens up to it; and for each layer i `past_keys_i` and `past_values_i` FP32 `[1, kv_heads, capacity,
    head_dim]`. New outputs: `present_keys_i` and `present_values_i`, of the same shape.
    """
    model = ir.load(path)
    graph = model.graph
    layers = [node for node in graph if node.op_type == "GroupQueryAttention"]
    head_dim = 2 * np.asarray(graph.initializers["model.rotary.cos"].const_value).shape[1]

    # Remove the spare column (see padded_attention.py), which would enter the cache: the number of columns is the last
    # position plus two with it, and plus one without.
    columns = producer(producer(layers[0].inputs[6]).inputs[0])
    one = ir.Value(name="one", const_value=ir.tensor(1))
    graph.register_initializer(one)
    columns.replace_input_with(1, one)

    last_position = ir.val("last_position", ir.DataType.INT32, [1])
    total = ir.val("total", ir.DataType.INT32, [])
    graph.inputs.extend([last_position, total])
    for index, layer in enumerate(layers):
        heads = layer.attributes["kv_num_heads"].as_int()
        shape = ir.Shape([1, heads, "capacity", head_dim])
        attended, *present = layer.outputs
        for offset, (kind, output) in enumerate(zip(("keys", "values"), present, strict=True)):
            past = ir.val(f"past_{kind}_{index}", ir.DataType.FLOAT, shape)
            graph.inputs.append(past)
            layer.replace_input_with(3 + offset, past)
            output.name, output.shape, output.type = f"present_{kind}_{index}", shape, past.type
            graph.outputs.append(output)
        layer.replace_input_with(5, last_position)
        layer.replace_input_with(6, total)
        # The exported graph computes the number of positions from the size of the cache outputs, which now are larger
        # than the chunk.
        (flatten,) = attended.consumers()
        query_size = layer.attributes["num_heads"].as_int() * head_dim
        shape_of_rows = ir.Value(name=f"shape_of_rows_{index}", const_value=ir.tensor([-1, query_size]))
        graph.register_initializer(shape_of_rows)
        flatten.replace_input_with(1, shape_of_rows)
    onnx_ir.passes.common.RemoveUnusedNodesPass()(model)
    serialised: bytes = ir.to_proto(model).SerializeToString()
    return serialised


def producer(value: ir.Value | None) -> ir.Node:
    """Return the operator that computes a value."""
    node = value.producer() if value is not None else None
    if node is None:
        raise ValueError("the graph was not exported by this release of qwen3-triton; export it again")
    return node


@contextmanager
def watched(measure: Callable[[], int]) -> Iterator[Callable[[], int]]:
    """Measure every 10 ms while the block runs; gives a function that returns the largest value so far."""
    peak, ended = measure(), threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.01):
            peak = max(peak, measure())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: peak
    finally:
        ended.set()
        watcher.join()


def anonymous_bytes() -> int:
    """Return the anonymous memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this needs Linux: /proc/self/status has no RssAnon")


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        one(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4], Path(sys.argv[5]))
    else:
        main(Path(sys.argv[1]), int(sys.argv[2]))
