"""Branches: nodes of a graph that run only under a condition.

Both branches of an `If` read values of the graph around it, weights among them, so that no weight is there twice. They
are built as if they were part of that graph, and then moved. onnxscript can build them where they belong, but names the
parameters of modules there wrongly. This module knows nothing about models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir
from onnxscript import OpBuilder

Build = Callable[[], Sequence[ir.Value]]


def choose(op: OpBuilder, condition: ir.Value, then: Build, otherwise: Build) -> Sequence[ir.Value]:
    """Compute one thing or another.

    Args:
        op: Builder of the graph.
        condition: BOOL, one element.
        then: Builds what to compute if it is true. Each value that it returns is the output of a node that it builds.
        otherwise: Builds what to compute if it is false: as many values, of the same types.

    Returns:
        The values of the branch that ran, with the types of the first one.
    """
    branches = [_moved(op, build, name) for build, name in ((then, "then"), (otherwise, "otherwise"))]
    values = op.If(condition, then_branch=branches[0], else_branch=branches[1], _outputs=len(branches[0].outputs))
    values = [values] if isinstance(values, ir.Value) else list(values)
    for value, output in zip(values, branches[0].outputs, strict=True):
        value.type, value.shape = output.type, output.shape
    return values


def _moved(op: OpBuilder, build: Build, name: str) -> ir.Graph:
    """Build nodes and move them to a graph of their own."""
    graph = op.builder.graph
    before = len(graph)
    outputs = build()
    nodes = list(graph)[before:]
    graph.remove(nodes)
    return ir.Graph([], outputs, nodes=nodes, opset_imports=dict(graph.opset_imports), name=name)
