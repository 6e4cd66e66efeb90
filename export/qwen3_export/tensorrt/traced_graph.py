"""The traced graph, cleaned up for serving: without local file names, and with the shapes of its outputs stated."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from ..errors import ExportError
from .decoder import TRACED

OPSET = 23  # the first with Attention, which TensorRT takes from 10.14 on; see docs/tensorrt.md


def read_traced(path: Path, outputs: Mapping[str, int]) -> ir.Model:
    """Read a traced graph, whose weights stay on disk, and clean it up.

    Args:
        path: The `.onnx` file.
        outputs: The size of each output, FP32 `[batch, size]`.

    Raises:
        ExportError: The graph is not portable: it has a function, a subgraph, or an operator that is not standard.
    """
    model = ir.load(path)
    # TensorRT requires axes and similar inputs to be initializers.
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    for node in model.graph:
        if node.domain == TRACED:
            node.domain = ""
    model.opset_imports.clear()
    model.opset_imports[""] = OPSET
    model.producer_name, model.producer_version = "qwen3-triton", version("qwen3-triton")
    _strip(model)
    _check(model)
    for output in model.graph.outputs:
        output.shape = ir.Shape(["batch", outputs[str(output.name)]])
    return model


def _strip(model: ir.Model) -> None:
    """Remove traces of the machine that traced the model: file names, lines of code, doc strings."""
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
            f"the traced graph has {', '.join(sorted(foreign | nested)) or 'functions'}, which TensorRT does not take; "
            "install the releases of optimum-onnx, torch and transformers that qwen3-triton[tensorrt] asks for"
        )
