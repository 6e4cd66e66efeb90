"""The library of operators: it is used where it computes what NumPy computes, and refused with a reason elsewhere."""

import importlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from qwen3_export import attention_check, cpu, export, operators
from qwen3_export.attention_check import check_attention, probe
from qwen3_export.onnx_runtime import runtime, session_options
from qwen3_serve.host.packed_engine import PackedEngine, Settings
from support.oracle import random_texts
from support.packed import PackedSession
from support.processors import amx

SETTINGS = Settings(max_batch_tokens=512, max_slots_per_token=1.25, prefix_cache_tokens=0)
OUTPUTS = ("all_float32", "wanted_float32", "kept_float32", "all_bfloat16", "wanted_bfloat16", "kept_bfloat16")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export("tiny", repository=tmp_path_factory.mktemp("repository")).directory / "1" / "model.onnx"


class Altered:
    """The probe's session, with something done to its results."""

    def __init__(self, alter: Callable[[dict[str, Any]], None]) -> None:
        options = session_options(threads=1)
        operators.register(options)
        self.session = runtime().InferenceSession(probe(), options, providers=["CPUExecutionProvider"])
        self.alter = alter

    def run(self, names: Sequence[str], feed: dict[str, Any]) -> list[Any]:
        results = dict(zip(names, self.session.run(names, feed), strict=True))
        self.alter(results)
        return list(results.values())


def test_the_probe_has_every_input_and_attribute_of_the_operator() -> None:
    floats = ("query", "key", "value", "cos", "sin", "query_gain", "key_gain", "prefix_rows")
    integers = ("starts", "lengths", "wanted", "prefix_starts", "prefix_lengths", "keep")
    inputs = [
        helper.make_tensor_value_info(name, kind, None)
        for names, kind in ((floats, TensorProto.FLOAT), (integers, TensorProto.INT64))
        for name in names
    ]
    required = ("query", "key", "value", "starts", "lengths", "cos", "sin", "query_gain", "key_gain")
    optional = ("wanted", "prefix_rows", "prefix_starts", "prefix_lengths", "keep")
    nodes = [
        helper.make_node(
            "RaggedAttention",
            required + (optional if layer else ()),
            [f"wanted_{numbers}", f"kept_{numbers}"] if layer else [f"all_{numbers}"],
            domain=operators.DOMAIN,
            heads=4,
            kv_heads=2,
            layer=layer,
            bf16=bf16,
            epsilon=1e-6,
        )
        for bf16, numbers in enumerate(("float32", "bfloat16"))
        for layer in (0, 1)
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in OUTPUTS]
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid(operators.DOMAIN, operators.VERSION)]
    expected = helper.make_model(helper.make_graph(nodes, "g", inputs, outputs), ir_version=10, opset_imports=opsets)
    assert onnx.ModelProto.FromString(probe()) == expected


def test_the_library_is_used_here() -> None:
    """On every processor on which these tests run, which all have AVX2."""
    flags = Path("/proc/cpuinfo").read_text()
    assert "avx2" in flags
    assert operators.operators() == operators.Operators(
        has_bf16="avx512_bf16" in flags, has_int8_products="avx512_vnni" in flags
    )


def test_the_library_is_right_with_amx(tmp_path: Path) -> None:
    """Its instructions are emulated here; on a processor with AMX, the test above covers them."""
    script = (
        "import ctypes; from qwen3_export.operators import operators; found = operators();"
        "print(found, ctypes.CDLL(None).emulated_amx_instructions() > 1000)"
    )
    done = subprocess.run(
        [*amx(tmp_path).launcher, sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{operators.Operators(has_bf16=True, has_int8_products=True)} True\n"


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1.5])
def test_one_wrong_number_is_found(output: str, wrong: float) -> None:
    def alter(results: dict[str, Any]) -> None:
        results[output][1, 17] = wrong

    fault = check_attention(Altered(alter)).fault
    assert fault.startswith(f"{output} of heads of 48: ")
    assert fault.count("instead of") == 2


@pytest.mark.parametrize("output", ["all_bfloat16", "wanted_bfloat16", "kept_bfloat16"])
def test_a_lost_half_of_the_bits_is_found_in_bfloat16(output: str) -> None:
    def alter(results: dict[str, Any]) -> None:
        results[output] *= 1.1

    assert output in check_attention(Altered(alter)).fault


def test_float32_in_place_of_bfloat16_is_no_fault() -> None:
    """Processors without such products compute graphs that allow bfloat16 in float32."""

    def alter(results: dict[str, Any]) -> None:
        results |= {f"{rows}_bfloat16": results[f"{rows}_float32"] for rows in ("all", "wanted", "kept")}

    outcome = check_attention(Altered(alter))
    assert (outcome.fault, outcome.has_bf16) == ("", False)


def absent(path: Path) -> None:
    path.unlink(missing_ok=True)


def empty(path: Path) -> None:
    path.touch()


def half(path: Path) -> None:
    content = operators.LIBRARY.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def text(path: Path) -> None:
    path.write_text("no library")


def without_operators(path: Path) -> None:
    """A library of something else: one of NumPy's modules."""
    shutil.copy(str(importlib.import_module("numpy.random.bit_generator").__file__), path)


BROKEN: dict[Callable[[Path], None], str] = {
    absent: "this installation has no libqwen3_operators.so, which there is for Linux on x86-64",
    empty: "libqwen3_operators.so does not run here .",
    half: ".*libqwen3_operators.so is cut short; install qwen3-triton again",
    text: "libqwen3_operators.so does not run here .",
    without_operators: "libqwen3_operators.so does not run here .",
}


@pytest.mark.parametrize("make", BROKEN)
def test_without_the_library_the_other_graph_runs_and_says_why(
    make: Callable[[Path], None], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / operators.LIBRARY.name
    make(library)
    monkeypatch.setattr(cpu, "operators", lambda: operators.operators(library))
    engine = PackedEngine(model, SETTINGS, threads=1)
    assert re.match(f"ONNX Runtime's, because {BROKEN[make]}", engine.attention)
    texts = random_texts([1, 2, 40])
    expected = PackedSession(model.parents[1], portable=True).embed(texts)
    np.testing.assert_array_equal(engine.run(texts)[0], expected)


def test_a_library_that_computes_something_wrong_is_refused_with_a_warning(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / operators.LIBRARY.name
    shutil.copy(operators.LIBRARY, library)
    monkeypatch.setattr(attention_check, "_MOST_FLOAT32", 0.0)
    with pytest.warns(
        RuntimeWarning, match=r"computes wrong numbers here .*please report this with the output of .lscpu"
    ):
        found = operators.operators(library)
    assert not found.has_bf16
    monkeypatch.setattr(cpu, "operators", lambda: found)
    session = cpu.open_session(model)
    assert not cpu.is_ragged(session)
    assert "computes wrong numbers here" in cpu.describe_attention(session, model)


def test_which_graph_is_opened(model: Path, tmp_path: Path) -> None:
    session = cpu.open_session(model)
    assert cpu.is_ragged(session)
    assert cpu.describe_attention(session, model) in ("ragged, AVX2", "ragged, AVX-512")  # in float32, with AMX too
    session = cpu.open_session(model, portable=True)
    assert not cpu.is_ragged(session)
    assert cpu.describe_attention(session, model) == "ONNX Runtime's, because that was asked for"
    shutil.copytree(model.parent, tmp_path / "1", ignore=shutil.ignore_patterns(cpu.RAGGED))
    session = cpu.open_session(tmp_path / "1" / "model.onnx")
    assert not cpu.is_ragged(session)
    said = cpu.describe_attention(session, tmp_path / "1" / "model.onnx")
    assert said == f"ONNX Runtime's, because {tmp_path / '1'} has no ragged.onnx, which exports of causal models have"
    assert not cpu.is_ragged(cpu.open_session((tmp_path / "1" / "model.onnx").read_bytes(), entries=weights(tmp_path)))


def test_bfloat16_is_named_where_the_graph_allows_it_and_the_processor_has_it(tmp_path: Path) -> None:
    model = export("tiny", repository=tmp_path, precision="int8").directory / "1" / "model.onnx"
    said = cpu.describe_attention(cpu.open_session(model), model)
    assert said.endswith(" with bfloat16") == operators.operators().has_bf16


def test_a_damaged_graph_is_an_error(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model.parent, tmp_path / "1")
    (tmp_path / "1" / cpu.RAGGED).write_bytes(b"no graph")
    with pytest.raises(Exception, match=r"ragged\.onnx"):
        cpu.open_session(tmp_path / "1" / "model.onnx")


def weights(folder: Path) -> dict[str, str]:
    return {"session.model_external_initializers_file_folder_path": str(folder / "1")}
