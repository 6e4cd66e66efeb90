"""From what the exporter wrote to what is served: nothing local in it, its shapes stated, one file of weights."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from ..errors import ExportError


def read_traced(path: Path, outputs: Mapping[str, int]) -> ir.Model:
    """Read a traced graph, its weights still on disk, and clean it.

    Args:
        path: The `.onnx` file.
        outputs: The size of each output, FP32 `[batch, size]`.

    Raises:
        ExportError: The graph is not portable: an operator of some runtime's own, or one with subgraphs.
    """
    model = ir.load(path)
    # TensorRT wants axes and the like to be initializers.
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    model.producer_name, model.producer_version = "qwen3-triton", version("qwen3-triton")
    _strip(model)
    _check(model)
    for output in model.graph.outputs:
        output.shape = ir.Shape(["batch", outputs[str(output.name)]])
    return model


def _strip(model: ir.Model) -> None:
    """Remove what tells of the machine that traced: file names, lines of code, doc strings."""
    graph = model.graph
    graph.name = "qwen3"
    values = [*graph.inputs, *graph.outputs, *graph.initializers.values()]
    for node in graph:
        values += node.outputs
    for holder in (model, graph, *graph, *values):
        holder.metadata_props.clear()
        holder.doc_string = None


def _check(model: ir.Model) -> None:
    foreign = {f"{node.domain}::{node.op_type}" for node in model.graph if node.domain}
    nested = {
        node.op_type
        for node in model.graph
        if any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values())
    }
    if foreign or nested or model.functions:
        raise ExportError(
            f"tracing gave {', '.join(sorted(foreign | nested)) or 'functions'}, which TensorRT does not take; "
            "install the releases of optimum-onnx, torch and transformers that qwen3-triton[tensorrt] names"
        )
