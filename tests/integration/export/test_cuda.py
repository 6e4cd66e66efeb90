"""CUDA exports, as far as a machine without a GPU can tell.

The graph itself runs, every node of it, with ONNX's reference evaluator and ONNX Runtime's own operators written in
numpy (``support.contrib_operators``); what they are given is held against the operators' schemas.
"""

import argparse
import functools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from google.protobuf import text_format
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema
from qwen3_export import ExportError, cli, export
from qwen3_export.graph.products import HALF
from qwen3_export.kind import Kind
from qwen3_export.precision import FOR_CUDA, Precision
from qwen3_export.target import Attention
from qwen3_export.verify.errors import VerifyError
from qwen3_export.verify.verification import verify_model
from qwen3_serve import ServeError, Triton
from qwen3_serve.host.cuda_engine import CudaSettings
from support.checkpoints import Shape, make_checkpoint
from support.contrib_operators import HalfSession, PagedAttention
from support.oracle import random_texts, reference_embeddings, reference_logits
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup

MakeSession = Callable[[Precision, str], HalfSession]
LENGTHS = [1, 2, 3, 7, 7, 16, 256, 257, 600]
COSINE: dict[Precision, float] = {
    "bf16": 0.999,
    "bf16-residual": 0.999,
    "fp16": 0.99999,
}  # on a tiny random model, which amplifies rounding
# How attention is told apart: by release and choice.
FORMS: dict[str, dict[str, Any]] = {
    "paged": {},
    "paged, norms inside": {"ort_version": "1.29"},
    "paged, norms inside, SiLU": {"ort_version": "1.31"},
    "gqa": {"attention": "gqa"},
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"), Shape())


@pytest.fixture(scope="module")
def reference(checkpoint: Path) -> npt.NDArray[np.float32]:
    return reference_embeddings(checkpoint, random_texts(LENGTHS))


def exported(source: Path | str, repository: Path, **options: Any) -> Path:  # noqa: ANN401
    return export(str(source), repository=repository, device="cuda", **options).directory / "1" / "model.onnx"


@pytest.fixture(scope="module")
def session(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeSession:
    """The graph of a precision and a form, exported once."""

    @functools.cache
    def make(precision: Precision, form: str) -> HalfSession:
        return HalfSession(exported(checkpoint, tmp_path_factory.mktemp("model"), precision=precision, **FORMS[form]))

    return make


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("precision", FOR_CUDA)
def test_the_graph_computes_what_transformers_computes(
    session: MakeSession, reference: npt.NDArray[np.float32], precision: Precision, form: str
) -> None:
    graph = session(precision, form)
    texts = random_texts(LENGTHS)
    together = graph.run(texts)["embedding"]
    assert (together * reference).sum(axis=1).min() >= COSINE[precision]
    assert np.abs(together - reference).max() > 1e-6, "nothing was rounded"
    for number in (0, 6, 7):  # one token, one block, and one token more
        assert graph.run([texts[number]])["embedding"][0] @ together[number] >= COSINE[precision]


@pytest.mark.parametrize("form", FORMS)
def test_a_residual_stream_in_bf16_is_about_as_far_from_float32_as_transformers_in_bf16(
    session: MakeSession, checkpoint: Path, reference: npt.NDArray[np.float32], form: str
) -> None:
    texts = random_texts(LENGTHS)

    def distance(vectors: npt.NDArray[np.float32]) -> float:
        return float(1 - (vectors.astype(np.float64) * reference).sum(axis=1).mean())

    residual, usual = (distance(session(name, form).run(texts)["embedding"]) for name in ("bf16-residual", "bf16"))
    transformers = distance(reference_embeddings(checkpoint, texts, dtype="bfloat16"))
    assert usual < residual < 1.5 * transformers
    assert transformers < 1.5 * residual


def test_a_reranker(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "reranker", Shape(tied=False))
    session = HalfSession(exported(checkpoint, tmp_path, kind="reranker"))
    prompts = random_texts([5, 300, 40])
    rows = session.run(prompts)
    expected = reference_logits(checkpoint, prompts, yes=258, no=259)
    np.testing.assert_allclose(rows["logit"][:, 0], expected, atol=0.05 * np.abs(expected).max())
    np.testing.assert_allclose(rows["score"], 1 / (1 + np.exp(-rows["logit"])), atol=1e-6)


@pytest.mark.parametrize(
    ("lengths", "table"),
    [
        ([1], [[0]]),
        ([256], [[0]]),
        ([257], [[0, 1]]),
        ([5, 5, 5], [[0], [1], [2]]),
        ([300, 1, 600], [[0, 1, 1], [2, 2, 2], [3, 4, 5]]),  # a text with fewer blocks repeats its last
    ],
)
def test_where_the_rows_lie(session: MakeSession, lengths: list[int], table: list[list[int]]) -> None:
    session("bf16", "paged").run(random_texts(lengths))
    first, second = PagedAttention.calls
    assert first["cumulative"].tolist() == [0, *np.cumsum(lengths)]
    assert first["past"].tolist() == [0] * len(lengths)
    assert first["table"].tolist() == table
    assert first["cache"].tolist() == [sum(-(-n // 256) for n in lengths), 256, 2, 32]
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_onnx_runtime_lays_out_the_same_cache(checkpoint: Path, tmp_path: Path) -> None:
    """The integers before the first layer, in ONNX Runtime itself and with its optimisations."""
    model = ir.load(exported(checkpoint, tmp_path))
    node = next(node for node in model.graph if node.op_type == "PagedAttention")
    model.graph.outputs[:] = [value for value in node.inputs[5:8] if value is not None]
    RemoveUnusedNodesPass()(model)
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    good = random_texts([300, 1, 600])
    texts = [good[0], np.array([260, 1]), *good[1:], np.zeros(0, np.int64)]
    lengths = np.array([[ids.size] for ids in texts], np.int32)
    cumulative, past, table = session.run(None, {"input_ids": np.concatenate(texts), "lengths": lengths})
    assert cumulative.tolist() == [0, 300, 301, 302, 902, 903], "a text not admitted has one row"
    assert past.tolist() == [0] * 5
    assert table.tolist() == [[0, 1, 1], [2, 2, 2], [3, 3, 3], [4, 5, 6], [7, 7, 7]]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "bad",
    [np.zeros(0, np.int64), np.zeros(2049, np.int64), np.array([1, -1, 2]), np.array([1, 260])],
    ids=["empty", "too long", "negative", "outside the vocabulary"],
)
def test_an_inadmissible_text_is_nan_and_alone_in_that(
    session: MakeSession, form: str, bad: npt.NDArray[np.int64]
) -> None:
    graph = session("bf16", form)
    good = random_texts([3, 300])
    rows = graph.run([bad, good[0], bad, good[1], bad])["embedding"]
    assert np.isnan(rows[::2]).all()
    np.testing.assert_allclose(rows[1::2], graph.run(good)["embedding"], atol=0.02)
    assert np.isnan(graph.run([bad])["embedding"]).all()


@pytest.mark.parametrize("kind", ["embedding", "reranker"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("precision", FOR_CUDA)
def test_types_are_as_promised(tmp_path: Path, precision: Precision, form: str, kind: Kind) -> None:
    path = exported("tiny", tmp_path, precision=precision, kind=kind, **FORMS[form])
    onnx.checker.check_model(str(path), full_check=True)
    model = ir.load(path)
    half = HALF[precision]
    heads = {"q_norm", "k_norm"}
    for node in model.graph.all_nodes():
        types = [value.dtype for value in node.inputs if value is not None]
        inside = any(name in str(value.name) for value in node.inputs if value is not None for name in heads)
        of_layer = any("layers" in str(value.name) for value in node.inputs if value is not None and value.const_value)
        stream = half if precision == "bf16-residual" and of_layer else ir.DataType.FLOAT
        if node.op_type in ("Sigmoid", "ReduceL2"):
            assert half not in types, node.name
        if node.op_type == "SkipSimplifiedLayerNormalization":
            assert set(types) == {stream}, node.name
        if node.op_type == "RMSNormalization":
            assert set(types) == ({half} if inside else {stream}), node.name
        if node.op_type == "MatMul":
            assert types == [ir.DataType.FLOAT] * 2 if "yes_no" in str(node.inputs[1]) else [half] * 2, node.name
    *results, fingerprint = (output for output in model.graph.outputs if output.name != "kept")
    assert [output.dtype for output in results] == [ir.DataType.FLOAT] * len(results)
    assert (fingerprint.name, fingerprint.dtype) == ("fingerprint", ir.DataType.INT64)
    layers = [node for node in model.graph.all_nodes() if node.op_type in ("PagedAttention", "GroupQueryAttention")]
    assert [node.op_type for node in layers] == ["GroupQueryAttention" if form == "gqa" else "PagedAttention"] * (
        6 if kind == "reranker" and form != "gqa" else 2  # in three branches
    )


@pytest.mark.parametrize("kind", ["embedding", "reranker"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("precision", FOR_CUDA)
def test_nodes_follow_their_schemas(tmp_path: Path, precision: Precision, form: str, kind: Kind) -> None:
    """Positions, types, presence and attributes, as ONNX Runtime itself registers them."""
    schemas = {s.name: s for s in get_all_operator_schema() if s.domain == "com.microsoft"}
    model = ir.load(exported("tiny", tmp_path, precision=precision, kind=kind, **FORMS[form]))
    seen = set()
    for node in model.graph.all_nodes():
        if node.domain != "com.microsoft":
            continue
        seen.add(node.op_type)
        schema = schemas[node.op_type]
        allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
        bound: dict[str, str] = {}
        assert len(node.inputs) <= len(schema.inputs)
        for value, formal in zip(node.inputs, schema.inputs, strict=False):
            if value is None:
                assert "Optional" in str(formal.option), f"{node.op_type} needs {formal.name}"
                continue
            assert value.dtype is not None, f"{node.op_type}.{formal.name} has no type"
            written = "tensor(" + {"BFLOAT16": "bfloat16"}.get(value.dtype.name, value.dtype.name.lower()) + ")"
            assert written in allowed.get(formal.typeStr, [formal.typeStr]), f"{node.op_type}.{formal.name}: {written}"
            assert bound.setdefault(formal.typeStr, written) == written
        for formal in list(schema.inputs)[len(node.inputs) :]:
            assert "Optional" in str(formal.option), f"{node.op_type} needs {formal.name}"
        assert set(node.attributes) <= set(schema.attributes)
        assert {name for name, a in schema.attributes.items() if a.required} <= set(node.attributes)
    assert seen >= {"SkipSimplifiedLayerNormalization", "GroupQueryAttention" if form == "gqa" else "PagedAttention"}


def test_each_release_gets_the_inputs_that_it_knows(tmp_path: Path) -> None:
    names = [formal.name for s in get_all_operator_schema() if s.name == "PagedAttention" for formal in s.inputs]

    def given(version: str) -> list[str]:
        path = exported("tiny", tmp_path, ort_version=version, force=True)
        node = next(node for node in ir.load(path).graph if node.op_type == "PagedAttention")
        assert len(node.outputs) == 1, "no release promises that the cache outputs share memory"
        return [name for name, value in zip(names, node.inputs, strict=False) if value is not None]

    always = ["key_cache", "value_cache", "cumulative_sequence_length", "past_seqlens", "block_table"]
    tables = ["cos_cache", "sin_cache"]
    assert given("1.27") == ["query", "key", "value", *always, *tables]
    inside = ["query", *always, *tables, "q_norm_weight", "k_norm_weight", "attention_metadata"]
    assert given("1.29.1") == given("1.30") == inside


def test_key_and_value_cache_cannot_become_one(tmp_path: Path) -> None:
    """ONNX Runtime merges nodes that compute the same; keys would then lie where values lie."""
    path = exported("tiny", tmp_path)
    model = ir.load(path)
    caches = set()
    for node in model.graph:
        if node.op_type == "PagedAttention":
            keys, values = (value.producer() for value in node.inputs[3:5] if value is not None)
            assert keys is not None
            assert values is not None
            caches.add((keys.name, values.name))
            fills = [node.attributes["value"].as_tensor().numpy().item() for node in (keys, values)]
            assert fills[0] != fills[1]
            assert np.isfinite(fills).all()
    assert len(caches) == 1, "one cache serves every layer"


def test_onnx_runtime_finds_every_operator_but_the_kernels_of_cuda(tmp_path: Path) -> None:
    """Loading resolves schemas and infers types and shapes; only then does the CPU provider lack a kernel."""
    with pytest.raises(Exception, match=r"NOT_IMPLEMENTED.*(bfloat16|PagedAttention|MatMul|kernel)"):
        ort.InferenceSession(str(exported("tiny", tmp_path)), providers=["CPUExecutionProvider"])


def parsed(config: str) -> ModelConfig:
    return text_format.Parse(config, ModelConfig())


@pytest.mark.parametrize("kind", ["embedding", "reranker"])
def test_memory_settings_are_parameters_of_the_model(tmp_path: Path, kind: Kind) -> None:
    """Triton's onnxruntime backend overwrites those of execution_accelerators, since our models have parameters."""
    config = (export("tiny", repository=tmp_path, device="cuda", kind=kind).directory / "config.pbtxt").read_text()
    uncommented = parsed(re.sub(r"^# (?=parameters \{)", "", config, flags=re.MULTILINE))
    assert {"arena_extend_strategy", "gpu_mem_limit"} <= set(uncommented.parameters)
    assert uncommented.parameters["arena_extend_strategy"].string_value in "01"
    assert not uncommented.HasField("optimization")


def test_the_directory_says_what_it_is_for(tmp_path: Path) -> None:
    directory = export("tiny", repository=tmp_path, device="cuda").directory
    manifest = json.loads((directory / "manifest.json").read_text())
    about = {key: manifest[key] for key in ("device", "precision", "onnxruntime", "attention")}
    assert about == {"device": "cuda", "precision": "bf16", "onnxruntime": "1.27", "attention": "paged"}
    config = (directory / "config.pbtxt").read_text()
    assert "kind: KIND_GPU" in config
    assert 'key: "device"\n  value {\n    string_value: "cuda"' in config
    assert parsed(config).parameters["session.use_device_allocator_for_initializers"].string_value == "1"
    embedded = text_format.Parse((directory / "configs" / "embedded.pbtxt").read_text(), ModelConfig())
    assert embedded.instance_group[0].kind == ModelInstanceGroup.KIND_MODEL, "the embedded Triton refuses KIND_GPU"
    assert embedded.parameters["device"].string_value == "cuda"
    assert CudaSettings.from_parameters({key: value.string_value for key, value in embedded.parameters.items()})
    assert (directory / "1" / "model.py").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "bf16"}, "bf16 needs a GPU: add --device cuda"),
        ({"device": "cuda", "precision": "int8"}, "int8 is for CPUs; on CUDA choose one of bf16, bf16-residual, fp16"),
        ({"precision": "bf16-residual"}, "bf16-residual needs a GPU: add --device cuda"),
        ({"device": "tensorrt", "precision": "bf16-residual"}, "not for TensorRT; choose one of bf16, fp16, fp32"),
        (
            {"device": "cuda", "precision": "bf16-residual", "ort_version": "1.26"},
            "1.26 has no SkipSimplified.* in float32, which came with 1.27; choose --precision bf16",
        ),
        ({"precision": "int9"}, "no precision 'int9'"),
        ({"device": "tpu"}, "no device 'tpu'; choose one of cpu, cuda"),
        ({"device": "cuda", "ort_version": "1.22"}, "ONNX Runtime 1.22 has no RMSNormalization.*1.23; choose"),
        ({"ort_version": "1.22.1"}, "ONNX Runtime 1.22 has no RMSNormalization"),
        ({"ort_version": "newest"}, "not a release of ONNX Runtime; write it like 1.27"),
        ({"attention": "paged"}, "PagedAttention runs on CUDA only"),
        ({"attention": "flash"}, "no attention 'flash'; choose one of gqa, paged"),
    ],
)
def test_what_cannot_be(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        export("tiny", repository=tmp_path, **options)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("precision", "version", "attention"),
    [
        (None, "1.23", "paged"),
        (None, None, "paged"),
        (None, "2.0", "paged"),
        ("fp16", "1.25.1", "gqa"),  # before Ampere, for which fp16 is, its PagedAttention does not run
        ("fp16", "1.26", "paged"),
    ],
)
def test_cuda_takes_paged_attention_where_it_runs(
    tmp_path: Path, precision: Precision | None, version: str | None, attention: Attention
) -> None:
    directory = export("tiny", repository=tmp_path, device="cuda", precision=precision, ort_version=version).directory
    assert json.loads((directory / "manifest.json").read_text())["attention"] == attention


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    repository = ["--repository", str(tmp_path)]
    assert cli.run(parser.parse_args(["tiny", "--device", "cuda", "--ort-version", "1.24", *repository])) == 0
    assert "bf16" in (said := capsys.readouterr().out)
    assert "container" in said
    manifest = json.loads((tmp_path / "qwen3_embedding" / "manifest.json").read_text())
    assert manifest["onnxruntime"] == "1.24"
    assert cli.run(parser.parse_args(["tiny", "--device", "cuda", "--ort-version", "1.20", *repository])) == 1
    assert "ONNX Runtime 1.20 has no RMSNormalization" in capsys.readouterr().err


def test_serve_and_verify_say_where_a_cuda_model_runs(checkpoint: Path, tmp_path: Path) -> None:
    directory = export(str(checkpoint), repository=tmp_path, device="cuda").directory
    with pytest.raises(ServeError, match=r"exported for CUDA.*CPUs only.*serve-gpu.*container.*--device cpu"):
        Triton(tmp_path).__enter__()
    with pytest.raises(VerifyError, match=r"exported for CUDA.*--url"):
        verify_model(directory)
    shutil.rmtree(directory / "configs")  # as earlier releases exported
    with pytest.raises(ServeError, match=r"no embedded\.pbtxt.*export it again with --force"):
        Triton(tmp_path).__enter__()
