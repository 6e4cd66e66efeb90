"""int8 graphs with the library's operators on rows and its products."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from qwen3_export import cpu, export
from qwen3_export.cpu import RAGGED, RAGGED_VNNI, open_session
from qwen3_export.operators import DOMAIN, operators
from support.checkpoints import Shape, make_checkpoint
from support.oracle import random_texts

LAYERS = Shape().layers
PER_LAYER = {"AddNormQuantize": 2, "QuantizeGated": 1, "QuantizeRows": 1, "RaggedAttention": 1}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fused")
    checkpoint = make_checkpoint(folder / "checkpoint", Shape())
    return export(str(checkpoint), repository=folder, precision="int8").directory / "1" / "model.onnx"


def operators_of(graph: Path) -> Counter[str]:
    return Counter(node.op_type for node in ir.load(graph).graph)


def test_rows_are_quantized_by_the_library_alone(model: Path) -> None:
    found = operators_of(model.with_name(RAGGED))
    first_norm = 1  # the first layer has no update to add, so its norm is separate from the quantization
    expected = {name: count * LAYERS for name, count in PER_LAYER.items()}
    expected["AddNormQuantize"] -= first_norm
    expected["QuantizeRows"] += first_norm
    assert {name: found[name] for name in expected} == expected
    assert not found.keys() & {"QuantizeLinear", "Abs", "ReduceMax", "Sigmoid"}
    assert found["MatMulIntegerToFloat"] == 7 * LAYERS


def test_products_are_the_librarys_in_the_graph_for_vnni(model: Path) -> None:
    found, other = operators_of(model.with_name(RAGGED_VNNI)), operators_of(model.with_name(RAGGED))
    gates = other.pop("QuantizeGated")
    assert found["GatedProduct"] == gates == LAYERS
    assert found["Int8Product"] + 2 * gates == other.pop("MatMulIntegerToFloat")
    assert not found.keys() & {"MatMulIntegerToFloat", "QuantizeGated"}
    other["QuantizeRows"] += gates
    unchanged = {name: count for name, count in other.items() if name != "Mul"}
    assert {name: found[name] for name in unchanged} == unchanged


def test_the_portable_graph_needs_no_library(model: Path) -> None:
    assert {node.domain for node in ir.load(model).graph} == {"", "com.microsoft"}
    assert DOMAIN in {node.domain for node in ir.load(model.with_name(RAGGED)).graph}


def test_exact_products_give_the_same_bits(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph for VNNI and the one without: products of integers are exact, and all else is the same."""
    if not operators().has_int8_products:
        assert open_session(model)._model_path == str(model.with_name(RAGGED))
        return
    texts = random_texts([1, 2, 5, 6, 7, 64, 129, 300])
    feed = {"input_ids": np.concatenate(texts), "lengths": np.array([[ids.size] for ids in texts], np.int32)}
    found = []
    for has_products, graph in ((True, RAGGED_VNNI), (False, RAGGED)):
        found_here = replace(operators(), has_int8_products=has_products)
        monkeypatch.setattr(cpu, "operators", lambda found_here=found_here: found_here)
        session = open_session(model)
        assert session._model_path == str(model.with_name(graph))
        found.append(session.run(["embedding"], feed)[0])
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("precision", ["fp32", "int8-weight", "int4-weight"])
def test_other_precisions_have_one_graph_more(tmp_path: Path, precision: str) -> None:
    folder = export("tiny", repository=tmp_path, precision=precision).directory / "1"  # type: ignore[arg-type]
    assert sorted(path.name for path in folder.glob("*.onnx")) == ["model.onnx", RAGGED]
