"""The library's operators on rows and its products: the bits of ONNX Runtime's operators where these are exact."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import helper
from qwen3_export import rows_check
from qwen3_export.onnx_runtime import runtime, session_options
from qwen3_export.operators import DOMAIN, VERSION, operators, register
from qwen3_export.rows_check import check_products, check_rows, product_probe, rows_probe

MICROSOFT = "com.microsoft"
SIZES = [1, 7, 8, 31, 32, 33, 64, 100, 1024]
Array = npt.NDArray[Any]


def run(
    nodes: Sequence[onnx.NodeProto], feed: Mapping[str, Array], outputs: Sequence[str], **constants: Array
) -> list[Array]:
    """Run nodes with the library loaded; returns the outputs."""
    kinds = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in feed.items()}
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(name, kind, [None] * feed[name].ndim) for name, kind in kinds.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid(*pair) for pair in (("", 21), (MICROSOFT, 1), (DOMAIN, VERSION))]
    model = helper.make_model(graph, ir_version=10, opset_imports=opsets).SerializeToString()
    found: list[Array] = session_on(model, threads=2).run(list(outputs), dict(feed))
    return found


@pytest.fixture
def has_products() -> None:
    """Skip the test on a processor for which the library has no products."""
    if not operators().has_int8_products:
        pytest.skip("this processor has no AVX512-VNNI; test_processors_without_vnni_have_no_products runs instead")


def session_on(model: bytes, *, threads: int) -> ort.InferenceSession:
    """A session with the library."""
    options = session_options(threads=threads)
    register(options)
    return runtime().InferenceSession(model, options, providers=["CPUExecutionProvider"])


def ours(operator: str, inputs: Sequence[str], outputs: Sequence[str], *, epsilon: float = 0.0) -> onnx.NodeProto:
    node = helper.make_node(operator, inputs, outputs, domain=DOMAIN)
    if epsilon:
        node.attribute.append(helper.make_attribute("epsilon", epsilon))
    return node


@pytest.mark.parametrize("size", SIZES)
def test_quantized_rows_have_the_bits_of_onnx_runtimes_operators(size: int) -> None:
    random = np.random.default_rng(size)
    x = random.standard_normal((40, size)).astype(np.float32) * 10.0 ** random.integers(-6, 6, (40, 1))
    x = x.astype(np.float32)
    x[3] = 0
    x[4, :] = x[4, 0]  # every number is the largest one
    x[5] = np.arange(size) - size // 2  # many lie exactly between two steps
    nodes = [
        ours("QuantizeRows", ["x"], ["quantized", "scales"]),
        helper.make_node("Abs", ["x"], ["magnitude"]),
        helper.make_node("ReduceMax", ["magnitude", "last"], ["largest"], keepdims=0),
        helper.make_node("Max", ["largest", "least"], ["bounded"]),
        helper.make_node("Div", ["bounded", "steps"], ["expected_scales"]),
        helper.make_node("Shape", ["expected_scales"], ["rows"]),
        helper.make_node("Expand", ["middle", "rows"], ["middles"]),
        helper.make_node("QuantizeLinear", ["x", "expected_scales", "middles"], ["expected"], axis=0, domain=MICROSOFT),
    ]
    quantized, scales, expected, expected_scales = run(
        nodes,
        {"x": x},
        ["quantized", "scales", "expected", "expected_scales"],
        last=np.array([-1]),
        least=np.array([1e-20], np.float32),
        steps=np.array([127], np.float32),
        middle=np.array([128], np.uint8),
    )
    np.testing.assert_array_equal(scales[:, 0], expected_scales)
    np.testing.assert_array_equal(quantized, expected)


@pytest.mark.usefixtures("has_products")
@pytest.mark.parametrize("rows", [0, 1, 5, 6, 7, 16, 17, 33, 64, 97, 192, 193, 500])
@pytest.mark.parametrize(("depth", "columns"), [(4, 1), (64, 64), (100, 130), (1024, 72), (1088, 130)])
def test_products_have_the_bits_of_onnx_runtimes(rows: int, depth: int, columns: int) -> None:
    random = np.random.default_rng(0)
    left = random.integers(0, 256, (rows, depth)).astype(np.uint8)
    row_scales = random.uniform(0, 1, (rows, 1)).astype(np.float32)
    nodes = [
        ours("Int8Product", ["left", "weight", "scales"], ["product"]),
        ours("Int8Product", ["left", "weight", "scales", "row_scales"], ["scaled"]),
        helper.make_node(
            "MatMulIntegerToFloat", ["left", "weight", "one", "scales", "middle"], ["expected"], domain=MICROSOFT
        ),
    ]
    product, scaled, expected = run(
        nodes,
        {"left": left, "row_scales": row_scales},
        ["product", "scaled", "expected"],
        weight=random.integers(-127, 128, (depth, columns)).astype(np.int8),
        scales=random.uniform(0.001, 0.1, columns).astype(np.float32),
        one=np.array(1, np.float32),
        middle=np.array(128, np.uint8),
    )
    np.testing.assert_array_equal(product, expected)
    np.testing.assert_array_equal(scaled, expected * row_scales)


@pytest.mark.usefixtures("has_products")
@pytest.mark.parametrize("rows", [0, 1, 17, 64, 193, 500])
@pytest.mark.parametrize(("depth", "columns"), [(4, 1), (100, 130), (1024, 72)])
def test_gated_products_have_the_bits_of_a_gate_between_products(rows: int, depth: int, columns: int) -> None:
    random = np.random.default_rng(0)
    feed: dict[str, Array] = {
        "left": random.integers(0, 256, (rows, depth)).astype(np.uint8),
        "row_scales": random.uniform(0, 1, (rows, 1)).astype(np.float32),
    }
    weights = {name: random.integers(-127, 128, (depth, columns)).astype(np.int8) for name in ("gate", "up")}
    scales = {f"{name}_scales": random.uniform(1e-5, 1e-3, columns).astype(np.float32) for name in weights}
    nodes = [
        ours("GatedProduct", ["left", "gate", "gate_scales", "up", "up_scales", "row_scales"], ["gated"]),
        ours("QuantizeRows", ["gated"], ["quantized", "scales"]),
        *(ours("Int8Product", ["left", name, f"{name}_scales"], [f"{name}_product"]) for name in weights),
        ours("QuantizeGated", ["gate_product", "up_product", "row_scales"], ["expected", "expected_scales"]),
    ]
    quantized, found_scales, expected, expected_scales = run(
        nodes, feed, ["quantized", "scales", "expected", "expected_scales"], **weights, **scales
    )
    np.testing.assert_array_equal(found_scales, expected_scales)
    np.testing.assert_array_equal(quantized, expected)


def test_processors_without_vnni_have_no_products() -> None:
    if operators().has_int8_products:
        assert "avx512_vnni" in Path("/proc/cpuinfo").read_text()
        return
    with pytest.raises(Exception, match="Int8Product: this processor lacks the instructions"):
        session_on(product_probe(), threads=1)


@pytest.mark.parametrize("size", SIZES)
def test_a_gate_is_silu_times_up(size: int) -> None:
    random = np.random.default_rng(size)
    feed = {
        "gate": random.standard_normal((30, size)).astype(np.float32) * 20,
        "up": random.standard_normal((30, size)).astype(np.float32),
        "scale": np.linspace(0.01, 10, 30, dtype=np.float32)[:, None],
    }
    feed["gate"][0] = 1e4
    feed["gate"][1] = -1e4
    node = ours("QuantizeGated", ["gate", "up", "scale"], ["quantized", "scales"])
    quantized, scales = run([node], feed, ["quantized", "scales"])
    gate = feed["gate"].astype(np.float64) * feed["scale"]
    with np.errstate(over="ignore"):
        expected = gate / (1 + np.exp(-gate)) * feed["up"]
    assert_close(quantized, scales, expected)


@pytest.mark.parametrize("size", SIZES)
def test_a_norm_is_that_of_the_sum(size: int) -> None:
    random = np.random.default_rng(size)
    feed = {
        "residual": random.standard_normal((30, size)).astype(np.float32),
        "update": random.standard_normal((30, size)).astype(np.float32),
        "scale": np.linspace(0, 3, 30, dtype=np.float32)[:, None],
        "gain": random.standard_normal(size).astype(np.float32),
    }
    feed["residual"][5] = feed["update"][5] = 0
    node = ours("AddNormQuantize", ["residual", "update", "scale", "gain"], ["total", "q", "s"], epsilon=1e-6)
    total, quantized, scales = run([node], feed, ["total", "q", "s"])
    np.testing.assert_array_equal(total, feed["residual"] + feed["update"] * feed["scale"])
    exact = total.astype(np.float64)
    expected = exact / np.sqrt((exact**2).mean(axis=1, keepdims=True) + 1e-6) * feed["gain"]
    assert_close(quantized, scales, expected)


def assert_close(quantized: Array, scales: Array, expected: Array) -> None:
    """Within half a step of the exact value, for each row's own steps."""
    largest = np.maximum(np.abs(expected).max(axis=1, keepdims=True), 1e-20)
    np.testing.assert_allclose(scales, largest / 127, rtol=1e-5)
    assert (np.abs((quantized.astype(np.float64) - 128) * scales - expected) <= 0.501 * largest / 127).all()


def test_shapes_that_do_not_fit_are_refused() -> None:
    node = ours("QuantizeGated", ["gate", "up", "scale"], ["q", "s"])
    feed = {"gate": np.ones((2, 8)), "up": np.ones((2, 7)), "scale": np.ones((2, 1))}
    with pytest.raises(Exception, match="QuantizeGated: the shapes of the inputs do not fit together"):
        run([node], {name: array.astype(np.float32) for name, array in feed.items()}, ["q", "s"])


class Altered:
    """A session that alters one of its results."""

    def __init__(self, model: bytes, name: str) -> None:
        self.session = session_on(model, threads=1)
        self.name = name

    def run(self, names: Sequence[str], feed: Mapping[str, Array]) -> list[Array]:
        results = dict(zip(names, self.session.run(list(names), dict(feed)), strict=True))
        altered = results[self.name]
        altered[-1, -1] = altered[-1, -1] * 2 + 1
        return list(results.values())


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("quantized", "quantized rows"),
        ("scales", "quantized rows"),
        ("gated", "gated rows"),
        ("gated_scales", "gated rows"),
        ("total", "sums of rows"),
        ("normed", "normalised rows"),
        ("normed_scales", "normalised rows"),
    ],
)
def test_the_check_of_rows_notices_one_wrong_number(name: str, fault: str) -> None:
    assert check_rows(Altered(rows_probe(), name)) == fault


@pytest.mark.parametrize(
    ("name", "fault"),
    [("product", "products of 1 rows"), ("scaled", "products of 1 rows"), ("gated", "gated products of 1 rows")],
)
def test_the_check_of_products_notices_one_wrong_number(name: str, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ONNX Runtime's operators in place of the library's, so that it runs on every processor."""
    model = onnx.ModelProto.FromString(product_probe())
    nodes = list(model.graph.node)
    assert [node.op_type for node in nodes] == ["Int8Product", "Int8Product", "GatedProduct"]
    del model.graph.node[:]

    def multiply(weight: str, scales: str, product: str) -> None:
        inputs = ["rows", weight, "one", scales, "middle"]
        model.graph.node.append(helper.make_node("MatMulIntegerToFloat", inputs, [product], domain=MICROSOFT))

    for node in nodes[:2]:
        product = f"{node.output[0]}_unscaled" if node.input[3:] else node.output[0]
        multiply(node.input[1], node.input[2], product)
        if node.input[3:]:
            model.graph.node.append(helper.make_node("Mul", [product, node.input[3]], node.output))
    _rows, gate, gate_scales, up, up_scales, row_scales = nodes[2].input
    multiply(gate, gate_scales, "gate")
    multiply(up, up_scales, "up")
    model.graph.node.extend(
        [
            helper.make_node("Mul", ["gate", row_scales], ["scaled_gate"]),
            helper.make_node("Sigmoid", ["scaled_gate"], ["sigmoid"]),
            helper.make_node("Mul", ["scaled_gate", "sigmoid"], ["silu"]),
            helper.make_node("Mul", ["silu", "up"], nodes[2].output),
        ]
    )
    for constant, value in (("one", np.float32(1)), ("middle", np.uint8(128))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), constant))
    model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    replaced = model.SerializeToString()
    monkeypatch.setattr(rows_check, "_PRODUCT", replaced)
    assert check_products(Altered(product_probe(), name)) == fault


@pytest.mark.usefixtures("has_products")
def test_the_check_of_products_passes_the_librarys() -> None:
    assert not check_products(session_on(product_probe(), threads=2))
