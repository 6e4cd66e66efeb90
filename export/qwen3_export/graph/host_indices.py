"""The graph of a CUDA export without its integer part: who runs it computes the indices, and passes them as inputs.

CUDA graphs are the reason. ONNX Runtime captures a session only if every operator of it is on the GPU, and the integer
part of `ragged_batch` and `paged_attention` is on the processor. The weights are those of the original graph, in the
same file. Texts are not checked: whoever computes the indices has to.
"""

from __future__ import annotations

from typing import TypeVar

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass
from qwen3_client.fingerprint import OUTPUT_NAME, as_number

from ..checkpoint.geometry import Geometry
from ..checkpoint.module_settings import Pooling
from ..target import Target
from .paged_attention import BLOCK_ROWS

_T = TypeVar("_T")

# Inputs of PagedAttention, by their position.
_KEY_CACHE, _CUMULATIVE, _PAST, _TABLE, _METADATA = 3, 5, 6, 7, 16


def has_host_indices(target: Target, *, pooling: Pooling) -> bool:
    """Return whether an embedding model is exported without the integer part of its graph too.

    Before PagedAttention takes bounds on the lengths, it reads them back from the GPU, which cannot be captured. One
    query at a time is an embedding model's case.
    """
    return bool(target.metadata_size) and pooling == "lasttoken"


def with_host_indices(model: ir.Model, *, geometry: Geometry, fingerprint: str) -> ir.Model:
    """Turn a graph into one whose indices are inputs; changes `model` and returns it.

    Inputs: `ids` INT64 `[rows]`, inside the vocabulary; `cumulative_lengths` INT32 `[batch + 1]`, `past_lengths` INT32
    `[batch]` and `block_table` INT32 `[batch, blocks of a text]`, see `PagedAttention`; `pooled_rows` INT64 `[batch]`.
    On the processor: `metadata` INT32 `[2]` or `[3]`, see `PagedAttention`, and `cache_shape` INT64 `[4]`.
    Output: `embedding` FP32 `[batch, dimensions]`. The fingerprint, as a number, is metadata instead of an
    output; further metadata is `cache_block`, the last three numbers of `cache_shape`.

    Args:
        model: From `build_graph`, of an embedding model, for which `has_host_indices` is true.
        geometry: The model's sizes.
        fingerprint: The model's fingerprint; "" if its answers do not name it.
    """
    graph = model.graph
    layers = [node for node in graph if node.op_type == "PagedAttention"]
    table = graph.initializers["model.embed_tokens"]
    (embedding,) = (node for node in graph if node.op_type == "Gather" and node.inputs[0] is table)
    # The last layer gathers what it attended, and the residual stream, at the pooled rows.
    pooled_rows = _there(_there(layers[-1].outputs[0].consumers()[0]).inputs[1])
    cache = _there(_input(layers[0], _KEY_CACHE).producer())
    metadata = _input(layers[0], _METADATA)
    indices = {
        "ids": _there(embedding.inputs[1]),
        "cumulative_lengths": _input(layers[0], _CUMULATIVE),
        "past_lengths": _input(layers[0], _PAST),
        "block_table": _input(layers[0], _TABLE),
        "pooled_rows": pooled_rows,
        "metadata": metadata,
        "cache_shape": _there(cache.inputs[0]),
    }
    shapes: dict[str, list[str | int]] = {
        "ids": ["rows"],
        "cumulative_lengths": ["texts_and_one"],
        "past_lengths": ["batch"],
        "block_table": ["batch", "blocks"],
        "pooled_rows": ["batch"],
        "metadata": [len(_there(metadata.producer()).inputs)],
        "cache_shape": [4],
    }
    inputs = []
    for name, value in indices.items():
        int32 = name in ("cumulative_lengths", "past_lengths", "block_table", "metadata")
        kind = ir.DataType.INT32 if int32 else ir.DataType.INT64
        given = ir.Value(name=name, type=ir.TensorType(kind), shape=ir.Shape(shapes[name]))
        value.replace_all_uses_with(given)
        inputs.append(given)
    (output,) = (value for value in graph.outputs if value.name != OUTPUT_NAME)
    vector = _there(_there(output.producer()).inputs[1])  # of the Where that puts NaN for a text not admitted
    output.name = "embedding_or_nan"
    vector.name, vector.type, vector.shape = "embedding", output.type, output.shape
    graph.outputs[:] = [vector]
    RemoveUnusedNodesPass()(model)
    graph.inputs[:] = inputs
    model.metadata_props[OUTPUT_NAME] = str(as_number(fingerprint)) if fingerprint else ""
    model.metadata_props["cache_block"] = f"{BLOCK_ROWS} {geometry.kv_heads} {geometry.head_dim}"
    return model


def _input(node: ir.Node, position: int) -> ir.Value:
    return _there(node.inputs[position])


def _there(value: _T | None) -> _T:
    assert value is not None  # noqa: S101 - the graph is our own
    return value
