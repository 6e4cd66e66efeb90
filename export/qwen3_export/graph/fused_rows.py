"""Fusion of what int8 graphs do to rows: the library's operators take the place of chains of ONNX Runtime's.

A row is read once instead of up to nine times, and a layer has 14 operators instead of 73, each of which costs a few
microseconds: a fifth of the time of a short query. Knows graphs as `model` declares them; it fails if one is not so.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.convenience import replace_all_uses_with
from onnx_ir.passes.common import RemoveUnusedNodesPass

from ..operators import DOMAIN

_FLOAT, _UINT8 = ir.TensorType(ir.DataType.FLOAT), ir.TensorType(ir.DataType.UINT8)
_DEPTH_MULTIPLE = 4  # of the products' input features. Source: operators/int8_product.h.


def fuse_rows(model: ir.Model) -> None:
    """Replace the quantization of rows, and the gate or the norm before it, by one operator each.

    Quantized rows and their scales have the same bits as before; the gate and the norm may differ in the last bit.

    Args:
        model: A graph with ragged attention and int8 products, from `build_graph`.
    """
    for quantize in _nodes(model, "QuantizeLinear"):
        _fuse_quantization(model.graph, quantize)
    RemoveUnusedNodesPass()(model)
    for quantize in _nodes(model, "QuantizeRows"):
        producer = quantize.inputs[0].producer() if quantize.inputs[0] is not None else None
        if producer is None:
            continue
        if producer.op_type == "Mul":
            _fuse_gate(model.graph, producer, quantize)
        elif producer.op_type == "SkipSimplifiedLayerNormalization":
            _fuse_norm(model.graph, producer, quantize)
    RemoveUnusedNodesPass()(model)


def can_have_exact_products(model: ir.Model) -> bool:
    """Return whether the library's product takes all int8 products of a graph, at least one."""
    weights = [node.inputs[1] for node in _nodes(model, "MatMulIntegerToFloat")]
    shapes = [weight.shape for weight in weights if weight is not None and weight.shape is not None]
    return bool(shapes) and all(shape.numpy()[0] % _DEPTH_MULTIPLE == 0 for shape in shapes)


def with_exact_products(model: ir.Model) -> ir.Model:
    """Replace ONNX Runtime's products by the library's, which give the same bits; changes `model` and returns it.

    Args:
        model: A graph that `fuse_rows` has changed, for which `can_have_exact_products` is true.
    """
    for quantize in _nodes(model, "QuantizeGated"):
        _fuse_gated_products(model.graph, quantize)
    RemoveUnusedNodesPass()(model)
    for product in _nodes(model, "MatMulIntegerToFloat"):
        rows, weight, _one, scales, _middle = product.inputs
        result, last, factors = product.outputs[0], product, []
        # Values are multiplied by the scales of their rows. In all other results, what follows does that.
        uses = list(result.uses())
        if len(uses) == 1 and uses[0].node.op_type == "Mul" and _is_row_scale(uses[0].node.inputs[1]):
            last = uses[0].node
            result, factors = last.outputs[0], [last.inputs[1]]
        (fused,) = _insert(model.graph, last, "Int8Product", [rows, weight, scales, *factors], [_FLOAT])
        replace_all_uses_with(result, fused)
    RemoveUnusedNodesPass()(model)
    return model


def _fuse_quantization(graph: ir.Graph, quantize: ir.Node) -> None:
    x, scale, _ = quantize.inputs
    assert scale is not None  # noqa: S101 - as `Int8Products` declares it
    (column,) = (use.node for use in scale.uses() if use.node.op_type == "Unsqueeze")
    fused, scales = _insert(graph, quantize, "QuantizeRows", [x], [_UINT8, _FLOAT])
    replace_all_uses_with([quantize.outputs[0], column.outputs[0]], [fused, scales])


def _fuse_gate(graph: ir.Graph, multiply: ir.Node, quantize: ir.Node) -> None:
    """Fuse `Mul(silu(Mul(gate, gate_scale)), up)`, where `silu(x)` is `Mul(x, Sigmoid(x))`."""
    silu, up = multiply.inputs
    scaled_gate = _producer(_producer(silu).inputs[0])
    gate, gate_scale = scaled_gate.inputs
    assert _is_row_scale(gate_scale)  # noqa: S101 - as `MLP` declares it
    fused, scales = _insert(graph, quantize, "QuantizeGated", [gate, up, gate_scale], [_UINT8, _FLOAT])
    replace_all_uses_with(quantize.outputs, [fused, scales])


def _fuse_gated_products(graph: ir.Graph, quantize: ir.Node) -> None:
    """Fuse the products of a gate, so that they need no memory of their own; the gated rows are quantized after it."""
    gate, up, gate_scale = quantize.inputs
    rows, gate_weight, _one, gate_scales, _middle = _producer(gate).inputs
    same_rows, up_weight, _one, up_scales, _middle = _producer(up).inputs
    assert same_rows is rows  # noqa: S101 - as `MLP` declares it
    inputs = [rows, gate_weight, gate_scales, up_weight, up_scales, gate_scale]
    (gated,) = _insert(graph, quantize, "GatedProduct", inputs, [_FLOAT])
    fused, scales = _insert(graph, quantize, "QuantizeRows", [gated], [_UINT8, _FLOAT])
    replace_all_uses_with(quantize.outputs, [fused, scales])


def _fuse_norm(graph: ir.Graph, norm: ir.Node, quantize: ir.Node) -> None:
    """Fuse the norm of `residual + Mul(update, update_scale)`, whose result is quantized and used for nothing else."""
    residual, scaled_update, gain = norm.inputs
    update, update_scale = _producer(scaled_update).inputs
    assert list(norm.outputs[0].consumers()) == [quantize]  # noqa: S101 - as `DecoderLayer` declares it
    inputs = [residual, update, update_scale, gain]
    attributes = {"epsilon": norm.attributes["epsilon"].as_float()}
    total, fused, scales = _insert(graph, norm, "AddNormQuantize", inputs, [_FLOAT, _UINT8, _FLOAT], attributes)
    replace_all_uses_with([norm.outputs[3], *quantize.outputs], [total, fused, scales])


def _insert(
    graph: ir.Graph,
    before: ir.Node,
    operator: str,
    inputs: list[ir.Value | None],
    types: list[ir.TensorType],
    attributes: dict[str, float] | None = None,
) -> tuple[ir.Value, ...]:
    """Insert an operator of the library before a node; returns its outputs."""
    node = ir.node(operator, inputs, attributes or {}, num_outputs=len(types), domain=DOMAIN)
    for index, (output, kind) in enumerate(zip(node.outputs, types, strict=True)):
        output.type, output.name = kind, f"{before.outputs[0].name}_{operator}_{index}"
    graph.insert_before(before, node)
    return tuple(node.outputs)


def _nodes(model: ir.Model, operator: str) -> list[ir.Node]:
    return [node for node in model.graph if node.op_type == operator]


def _producer(value: ir.Value | None) -> ir.Node:
    producer = None if value is None else value.producer()
    assert producer is not None  # noqa: S101 - as the graph is declared
    return producer


def _is_row_scale(value: ir.Value | None) -> bool:
    """Whether a value is the scales of quantized rows, the last output of an operator that quantizes."""
    producer = None if value is None else value.producer()
    return producer is not None and producer.domain == DOMAIN and value is producer.outputs[-1]
