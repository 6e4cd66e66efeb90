"""The model file: the graph with its inputs and outputs, and beside it one file with all weights."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnxscript import GraphBuilder
from qwen3_client.fingerprint import OUTPUT_NAME, as_number

from ..checkpoint.checkpoint import Checkpoint
from ..checkpoint.reranker_head import RerankerHead
from ..cpu import RAGGED_PRODUCTS
from ..errors import ExportError
from ..operators import DOMAIN, VERSION
from ..target import Target
from .arithmetic import Arithmetic
from .model import EmbeddingModel, RerankerModel
from .prefixes import PrefixInputs
from .products import MICROSOFT

OPSET = 23  # the first with RMSNormalization
IR_VERSION = 10  # read by every ONNX Runtime that knows opset 23
IN_FILE_BYTES = 1024  # tensors up to this size stay inside the .onnx file
ALIGNMENT = 4096  # bytes; tensors start at a memory page, so that they can be mapped instead of copied
WRITERS = 4  # threads that read, quantize and write; more would only wait for each other
TABLE = "model.embed_tokens"
IN_FLIGHT_BYTES = 512 * 2**20  # of tensors in memory at once; a larger tensor is written alone


CPU = Target()
Model = ir.Model


@dataclass(frozen=True, slots=True)
class FileSizes:
    """The sizes of a model's files, in bytes.

    Attributes:
        graph: Of the `.onnx` file.
        weights: Of the file with the external data.
        table: The part of the weights that is the embedding table. ONNX Runtime reads it where it is mapped, while it
            copies the matrices into memory, in the layout of its kernels.
    """

    graph: int
    weights: int
    table: int


def build_graph(
    checkpoint: Checkpoint, arithmetic: Arithmetic, head: RerankerHead | None = None, *, target: Target = CPU
) -> ir.Model:
    """Build the graph. The weights stay on disk until the graph is written.

    Graphs of one checkpoint and precision have the same weights under the same names, whatever form of attention they
    have.

    Inputs: `input_ids` INT64 `[tokens]` and `lengths` INT32 `[batch, 1]`.
    Outputs: `embedding` FP32 `[batch, dimensions]`; of a reranker, `score` and `logit` FP32 `[batch, 1]`.
    Graphs for CPUs, and rerankers' with paged attention, also have the optional inputs of `PrefixInputs` and the output
    `kept`, if the model is causal and pools the last token: else a prefix depends on what follows it, or is pooled
    itself. All other graphs have the metadata `shared_prefixes: none`. Graphs with ragged attention have the metadata
    `ragged_products`: `float32`, or `bfloat16` where the processor has such products.

    Args:
        checkpoint: The weights.
        arithmetic: The type that products and attention compute in.
        head: A reranker's head; None for an embedding model.
        target: Where the graph will run.
    """
    pooling = checkpoint.modules.pooling if head is None else "lasttoken"
    is_ragged = target.attention == "ragged"
    opset_imports = {"": OPSET, MICROSOFT: 1} | ({DOMAIN: VERSION} if is_ragged else {})
    graph = ir.Graph([], [], nodes=[], name="qwen3", opset_imports=opset_imports)
    builder = GraphBuilder(graph)
    input_ids = builder.input("input_ids", ir.DataType.INT64, ["tokens"])
    lengths = builder.input("lengths", ir.DataType.INT32, ["batch", 1])
    is_paged = target.attention == "paged"
    shares_prefixes = checkpoint.geometry.is_causal and pooling == "lasttoken"
    if target.device == "cuda":  # a query on a GPU waits for launches, not for its tokens: sharing would save nothing
        shares_prefixes = shares_prefixes and is_paged and head is not None
    prefixes = None
    if shares_prefixes:
        prefixes = PrefixInputs.declare(builder, checkpoint.geometry, dtype=arithmetic.dtype, is_paged=is_paged)
    model: EmbeddingModel | RerankerModel
    if head is None:
        model = EmbeddingModel(checkpoint, arithmetic, target)
    else:
        model = RerankerModel(checkpoint, arithmetic, target, head)
    size = checkpoint.dimensions if head is None else 1
    results, kept = model(builder.op, input_ids, lengths, prefixes)
    for name, value in results.items():
        builder.add_output(value, name)
        value.type = ir.TensorType(ir.DataType.FLOAT)
        value.shape = ir.Shape(["batch", size])
    if kept is not None:
        builder.add_output(kept, "kept")
    finished = ir.Model(
        graph,
        ir_version=IR_VERSION,
        producer_name="qwen3-triton",
        producer_version=version("qwen3-triton"),
        metadata_props={} if shares_prefixes else {"shared_prefixes": "none"},
    )
    if is_ragged:
        finished.metadata_props[RAGGED_PRODUCTS] = "bfloat16" if arithmetic.bf16_attention else "float32"
    if target.device == "cuda":  # indices that only one of both forms of attention reads
        RemoveUnusedNodesPass()(finished)
    return finished


def add_fingerprint(model: ir.Model, fingerprint: str) -> None:
    """Add the output `fingerprint` INT64 `[batch, 1]`, which names for each text the model that answered.

    A client sees from it that another model answered than the one whose tokenizer it has.

    Args:
        model: From `build_graph`.
        fingerprint: The model's fingerprint, 16 hexadecimal digits.
    """
    builder = GraphBuilder(model.graph)
    op = builder.op
    (lengths,) = (value for value in model.graph.inputs if value.name == "lengths")
    number = op.Constant(value=ir.tensor(np.array([[as_number(fingerprint)]], np.int64)))
    value = op.Expand(number, op.Shape(lengths))
    builder.add_output(value, OUTPUT_NAME)
    value.type = ir.TensorType(ir.DataType.INT64)
    value.shape = ir.Shape(["batch", 1])


def write_model(model: ir.Model, path: Path, *, progress: Callable[[int, int], None] | None = None) -> None:
    """Write `path` and its weights, `path` + `.data`, a few tensors at a time.

    Args:
        model: From `build_graph`.
        path: The `.onnx` file to write.
        progress: Called before each tensor with the bytes written, this tensor included, and the bytes in total.

    Raises:
        ExportError: A weight cannot be read.
    """
    tensors = (value.const_value for value in model.graph.initializers.values())
    total = sum(t.nbytes for t in tensors if t is not None and t.nbytes > IN_FILE_BYTES)
    done = 0

    def advance(tensor: ir.TensorProtocol, _info: object) -> None:
        nonlocal done
        done += tensor.nbytes
        if progress is not None:
            progress(done, total)

    try:
        ir.save(
            model,
            path,
            external_data=f"{path.name}.data",
            size_threshold_bytes=IN_FILE_BYTES,
            alignment=ALIGNMENT,
            align_threshold=ALIGNMENT,
            callback=advance,
            max_workers=min(WRITERS, len(os.sched_getaffinity(0))),
            max_in_flight_bytes=IN_FLIGHT_BYTES,
        )
    except ir.serde.SerdeError as error:  # wraps what reading a small tensor raises, several times
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, ExportError):
            cause = cause.__cause__
        raise (cause or error) from None


def derive_model(path: Path, derived: Path, change: Callable[[ir.Model], ir.Model]) -> None:
    """Write a changed graph beside another one, with the same weights in the same file.

    Args:
        path: The `.onnx` file of the other one.
        derived: The `.onnx` file to write, in the same folder.
        change: What to do to the graph. It must not add tensors that are larger than `IN_FILE_BYTES`.
    """
    ir.save(change(ir.load(path)), derived)


def write_beside(model: ir.Model, path: Path, *, written: Path) -> None:
    """Write a graph whose weights are those of a graph that was written before.

    Args:
        model: From `build_graph`, of the same checkpoint and precision.
        path: The `.onnx` file to write, in the same folder.
        written: The `.onnx` file of the other graph.
    """
    weights = ir.load(written).graph.initializers
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        # Constants of the graph are small; they may have the name of another constant of the other graph.
        if isinstance(tensor, ir.LazyTensor) or (tensor is not None and tensor.nbytes > IN_FILE_BYTES):
            value.const_value = weights[name].const_value
    ir.save(model, path)


def file_sizes(model: ir.Model) -> FileSizes:
    """Return the sizes of the files that `write_model` would write, without reading a weight.

    Args:
        model: From `build_graph`. It cannot be written any more: its weights are replaced by others of this size.
    """
    end = table = 0
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is None:
            continue
        if tensor.nbytes <= IN_FILE_BYTES:
            if isinstance(tensor, ir.LazyTensor):
                zeros = np.zeros(tensor.shape.numpy(), tensor.dtype.numpy())
                value.const_value = ir.Tensor(zeros, dtype=tensor.dtype, name=name)
            continue
        offset = -(-end // ALIGNMENT) * ALIGNMENT if tensor.nbytes > ALIGNMENT else end
        end = offset + tensor.nbytes
        if name == TABLE:
            table = tensor.nbytes
        value.const_value = ir.ExternalTensor(
            "model.onnx.data", offset, tensor.nbytes, tensor.dtype, shape=ir.Shape(tensor.shape.numpy()), name=name
        )
    return FileSizes(graph=ir.to_proto(model).ByteSize(), weights=end, table=table)
