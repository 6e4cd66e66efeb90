"""The portable graph: standard operators only, and the same numbers as the packed graph and transformers.

Two exporters that share nothing but the checkpoint's reader are each other's oracle.
"""

import collections
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from onnx import TensorProto
from qwen3_export import ExportError, export
from qwen3_export.kind import Kind
from support.checkpoints import Shape, make_checkpoint
from support.oracle import random_texts, reference_embeddings, reference_logits
from support.packed import PackedSession
from support.padded import PaddedSession
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig, ModelInstanceGroup

pytestmark = pytest.mark.tensorrt

LENGTHS = [1, 2, 3, 7, 7, 7, 16, 33, 100, 257]
YES, NO = 258, 259  # of the byte tokenizer

# What TensorRT's ONNX parser takes an operator's first input to be, of those that the graph uses.
# Source: onnx-tensorrt, docs/operators.md for TensorRT 10.15; Attention is there from 10.14 on.
FLOATS: set[int] = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16}
NUMBERS: set[int] = FLOATS | {TensorProto.INT32, TensorProto.INT64}
TRUTHS: set[int] = {TensorProto.BOOL}
ANY = NUMBERS | TRUTHS
TENSORRT: dict[str, set[int]] = {
    **dict.fromkeys(("Attention", "Clip", "Cos", "MatMul", "Sigmoid", "Sin", "Sqrt"), FLOATS),
    **dict.fromkeys(("Add", "Div", "Equal", "LessOrEqual", "Mul", "Neg", "Pow", "Range", "Sub"), NUMBERS),
    **dict.fromkeys(("ReduceL2", "ReduceMax", "ReduceMean", "ReduceSum"), NUMBERS),
    **dict.fromkeys(("Cast", "Concat", "ConstantOfShape", "Expand", "Gather", "GatherElements", "Identity"), ANY),
    **dict.fromkeys(("Reshape", "Shape", "Slice", "Transpose", "Unsqueeze", "Where"), ANY),
    **dict.fromkeys(("And", "Not"), TRUTHS),
}

SHAPES = {
    "grouped heads, heads x head_dim != hidden": Shape(),
    "as many key/value heads as heads": Shape(heads=2, kv_heads=2),
    "odd sizes": Shape(hidden=72, intermediate=100, heads=3, kv_heads=1, head_dim=48),
    "sharded bfloat16": Shape(layers=3, shard_size="100KB"),
    "untied, names without model.": Shape(tied=False, prefixed=False),
}


def plan_model(checkpoint: Path | str, repository: Path, **options: str) -> Path:
    """Export for TensorRT; the directory of the model that the plan belongs into."""
    options = {"precision": "fp32", **options}
    padding_front = export(str(checkpoint), repository=repository, device="tensorrt", **options).directory  # type: ignore[arg-type]
    return padding_front.with_name(f"{padding_front.name}_trt")


@pytest.fixture(scope="module", params=["fp32", "fp16", "bf16"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plan_model("tiny", tmp_path_factory.mktemp(request.param), precision=request.param)


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plan_model("tiny", tmp_path_factory.mktemp("portable"))


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plan_model("tiny", tmp_path_factory.mktemp("reranker"), kind="reranker")


def graph(directory: Path) -> onnx.GraphProto:
    return onnx.load(str(directory / "1" / "model.onnx"), load_external_data=False).graph


# --- what the graph is made of --------------------------------------------------------------------------------


def test_the_graph_is_portable(exported: Path) -> None:
    path = exported / "1" / "model.onnx"
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(str(path), load_external_data=False)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 23)]
    assert not model.functions
    assert {node.domain for node in model.graph.node} == {""}
    assert not any(attribute.HasField("g") for node in model.graph.node for attribute in node.attribute)
    assert "If" not in {node.op_type for node in model.graph.node}


def test_inputs_and_outputs_are_dynamic_in_batch_and_width_alone(exported: Path) -> None:
    def signature(values: list[onnx.ValueInfoProto]) -> list[tuple[str, int, list[str | int]]]:
        return [
            (value.name, value.type.tensor_type.elem_type,
             [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim])
            for value in values
        ]  # fmt: skip

    assert signature(list(graph(exported).input)) == [
        ("input_ids", TensorProto.INT64, ["batch", "seq"]),
        ("attention_mask", TensorProto.INT64, ["batch", "seq"]),
    ]
    assert signature(list(graph(exported).output)) == [("pooled", TensorProto.FLOAT, ["batch", 64])]


def test_nothing_in_it_tells_where_it_was_made(exported: Path) -> None:
    content = (exported / "1" / "model.onnx").read_bytes()
    for path in (exported, Path.home(), Path(sys.prefix), Path(__file__).parents[3]):
        assert os.fsencode(path) + b"/" not in content
    assert b".py" not in content
    model = onnx.load(str(exported / "1" / "model.onnx"), load_external_data=False)
    assert model.producer_name == "qwen3-triton"
    graph_parts: list[Any] = [*model.graph.node, *model.graph.initializer, *model.graph.value_info]
    for holder in (model, model.graph, *graph_parts):
        assert not holder.metadata_props
        assert not holder.doc_string


def test_weights_lie_in_one_file(exported: Path) -> None:
    hosts = {"model.py", "triton_tensors.py"}
    assert {path.name for path in (exported / "1").iterdir()} == {"model.onnx", "model.onnx.data"} | hosts
    for tensor in graph(exported).initializer:
        external = {entry.key: entry.value for entry in tensor.external_data}
        assert external.get("location", "model.onnx.data") == "model.onnx.data"
        assert external or np.prod(tensor.dims, dtype=np.int64) <= 512, tensor.name


def test_half_precision_is_for_products_and_attention_alone(exported: Path) -> None:
    """The types are the graph's: TensorRT is strongly typed. Norms, rotary embedding, residual stream are FP32."""
    precision = json.loads((exported / "manifest.json").read_text())["precision"]
    work = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}[precision]
    inferred = onnx.shape_inference.infer_shapes(onnx.load(str(exported / "1" / "model.onnx")), strict_mode=True).graph
    types = {value.name: value.type.tensor_type.elem_type for value in [*inferred.value_info, *inferred.output]}
    types |= {tensor.name: tensor.data_type for tensor in inferred.initializer}
    found = collections.defaultdict(set)
    for node in inferred.node:
        found[node.op_type].add(types[node.output[0]])
    assert found["MatMul"] == found["Attention"] == {work}
    for operator in ("Pow", "ReduceMean", "Sqrt", "Cos", "Sin", "Sigmoid", "ReduceL2"):
        assert found[operator] == {TensorProto.FLOAT}, operator
    # Seven maps a layer: the rotary embedding is no matrix product, which may be TF32.
    assert sum(node.op_type == "MatMul" for node in inferred.node) == 2 * 7
    for node in inferred.node:
        if node.op_type == "Attention":
            assert [name for name in node.input if name] == list(node.input[:3]), "no mask"
            assert {a.name: a.i for a in node.attribute if a.name == "is_causal"} == {"is_causal": 1}
    tables = [tensor.data_type for tensor in inferred.initializer if list(tensor.dims) == [260, 64]]
    assert tables == [TensorProto.BFLOAT16 if precision == "bf16" else TensorProto.FLOAT]


def test_tensorrts_parser_knows_every_operator_and_its_types(exported: Path, reranker: Path) -> None:
    for plan in (exported, reranker):
        inferred = onnx.shape_inference.infer_shapes(onnx.load(str(plan / "1" / "model.onnx")), strict_mode=True).graph
        values = [*inferred.value_info, *inferred.input, *inferred.output]
        types = {value.name: value.type.tensor_type.elem_type for value in values}
        constants = {tensor.name: tensor.data_type for tensor in inferred.initializer}
        types |= constants
        for node in inferred.node:
            assert types[node.input[0]] in TENSORRT[node.op_type], (node.op_type, types[node.input[0]])
            # "must be an initializer", "must be a build-time constant"
            if node.op_type.startswith("Reduce") or node.op_type == "Unsqueeze":
                assert node.input[1] in constants, node.op_type


def test_two_exports_are_the_same_bytes(fp32: Path, tmp_path: Path) -> None:
    again = plan_model("tiny", tmp_path)
    for file in ("1/model.onnx", "1/model.onnx.data"):
        assert (again / file).read_bytes() == (fp32 / file).read_bytes()


# --- what it computes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_padded_batch_gives_the_packed_graphs_vectors(tmp_path: Path, shape: Shape) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", shape)
    padded = PaddedSession(plan_model(checkpoint, tmp_path / "portable"))
    packed = PackedSession(export(str(checkpoint), repository=tmp_path / "packed").directory)
    texts = random_texts(LENGTHS)
    together, reference = packed.embed(texts), reference_embeddings(checkpoint, texts)
    for batch in (slice(None), slice(3, 6), slice(0, 1), slice(9, 10)):  # unequal, equal, one token, long
        for rows in (padded.run(texts[batch])["pooled"], padded.run(texts[batch], spare=5)["pooled"]):
            np.testing.assert_allclose(rows, together[batch], atol=2e-6)
            np.testing.assert_allclose(rows, reference[batch], atol=2e-6)


@pytest.mark.parametrize("shape", [Shape(), Shape(tied=False)], ids=str)
def test_the_rerankers_logits_are_those_of_the_packed_graph(tmp_path: Path, shape: Shape) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", shape)
    padded = PaddedSession(plan_model(checkpoint, tmp_path / "portable", kind="reranker"))
    packed = PackedSession(export(str(checkpoint), repository=tmp_path / "packed", kind="reranker").directory)
    prompts = random_texts(LENGTHS)
    together, reference = packed.run(prompts), reference_logits(checkpoint, prompts, yes=YES, no=NO)
    for rows in (padded.run(prompts), padded.run(prompts, spare=3)):
        assert set(rows) == {"score", "logit"}
        for name in rows:
            assert rows[name].shape == (len(prompts), 1)
            np.testing.assert_allclose(rows[name], together[name], atol=2e-5)
        np.testing.assert_allclose(rows["logit"][:, 0], reference, atol=1e-4)


def test_a_long_text_keeps_its_positions(fp32: Path, tmp_path: Path) -> None:
    """Positions are float32 factors: rounding them would show at the end of a long text."""
    packed = PackedSession(export("tiny", repository=tmp_path).directory)
    texts = random_texts([2048, 1500])
    rows = PaddedSession(fp32).run(texts)["pooled"]
    np.testing.assert_allclose(rows, packed.embed(texts), atol=5e-6)


def test_float16_stays_close(tmp_path: Path) -> None:
    """ONNX Runtime has float16 kernels on CPUs; bfloat16 ones it has not, so bf16 is checked by structure alone."""
    checkpoint = make_checkpoint(tmp_path / "checkpoint", Shape())
    padded = PaddedSession(plan_model(checkpoint, tmp_path, precision="fp16"))
    texts = random_texts(LENGTHS)
    reference = reference_embeddings(checkpoint, texts)
    rows = padded.run(texts)["pooled"]
    assert (rows * reference).sum(axis=1).min() > 0.9999
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_activations_beyond_float16_survive(tmp_path: Path) -> None:
    """What makes plain float16 fail on the 8B model: a residual stream past 65,504."""
    checkpoint = make_checkpoint(tmp_path / "checkpoint", Shape(dtype="float32"))
    _scale_embeddings(checkpoint / "model.safetensors", 1e6)
    texts = random_texts(LENGTHS)
    rows = PaddedSession(plan_model(checkpoint, tmp_path, precision="fp16")).run(texts)["pooled"]
    assert (rows * reference_embeddings(checkpoint, texts)).sum(axis=1).min() > 0.9999


# --- the directories ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["fp32", "reranker"])
def test_configurations_agree_with_the_graph(request: pytest.FixtureRequest, kind: str) -> None:
    plan: Path = request.getfixturevalue(kind)
    outputs = [(value.name, value.type.tensor_type.shape.dim[1].dim_value) for value in graph(plan).output]
    backends = {}
    for file in ("config.pbtxt", "configs/tensorrt-ep.pbtxt", "configs/embedded.pbtxt"):
        config = _parsed(plan / file)
        backends[file] = config.platform or config.backend
        assert [tensor.name for tensor in config.input] == [value.name for value in graph(plan).input]
        assert {tensor.data_type for tensor in config.input} == {DataType.Value("TYPE_INT64")}
        assert not any(tensor.allow_ragged_batch for tensor in config.input)
        assert not config.HasField("dynamic_batching"), "the padding front makes the batches"
        assert [(tensor.name, tensor.dims[0]) for tensor in config.output] == outputs
        on_gpu = file != "configs/embedded.pbtxt"
        (group,) = config.instance_group
        assert group.kind == (ModelInstanceGroup.KIND_GPU if on_gpu else ModelInstanceGroup.KIND_CPU)
    assert list(backends.values()) == ["tensorrt_plan", "onnxruntime", "python"]


@pytest.mark.parametrize(("fixture", "kind"), [("fp32", "embedding"), ("reranker", "reranker")])
def test_the_padding_front_keeps_the_packed_models_contract(
    request: pytest.FixtureRequest, tmp_path: Path, fixture: str, kind: Kind
) -> None:
    plan: Path = request.getfixturevalue(fixture)
    padding_front = plan.with_name(f"qwen3_{kind}")
    packed = export("tiny", repository=tmp_path, kind=kind).directory
    own = {"plan_model", "max_batch_texts", "max_batch_slots", "max_slots_per_token"}
    facts = text_format.Parse(
        (packed / "config.pbtxt").read_text().partition("# ---- Below")[2].partition("\n")[2], ModelConfig()
    )
    for file in ("config.pbtxt", "configs/embedded.pbtxt"):
        config, expected = _parsed(padding_front / file), _parsed(packed / "config.pbtxt")
        assert config.backend == "python"
        assert config.input == expected.input
        # A padding front cannot know which plan answers, so it does not name the model.
        assert list(config.output) == [output for output in expected.output if output.name != "fingerprint"]
        assert config.max_batch_size == expected.max_batch_size
        assert set(config.parameters) - own == set(facts.parameters)
        for key in set(facts.parameters) - {"device", "tokenizer"}:
            assert config.parameters[key] == facts.parameters[key], key
        assert config.parameters["plan_model"].string_value == f"qwen3_{kind}_trt"


def test_every_template_shows_every_parameter(fp32: Path, reranker: Path) -> None:
    templates = Path(__file__).parents[3] / "export" / "qwen3_export" / "templates" / "tensorrt"
    files = sorted(templates.rglob("*.pbtxt"))
    assert len(files) == 10
    for file in files:
        written = (reranker if "reranker" in str(file) else fp32).parent / file.relative_to(templates)
        assert set(_parsed(file).parameters) == set(_parsed(written).parameters), file
        above = [path.read_text().partition("# ---- Below")[0] for path in (file, written)]
        assert above[0] == above[1]


def test_the_tensorrt_provider_gets_profiles_and_caches(fp32: Path) -> None:
    (accelerator,) = _parsed(
        fp32 / "configs" / "tensorrt-ep.pbtxt"
    ).optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "tensorrt"
    shapes = {
        end: {
            name: [int(size) for size in shape.split("x")]
            for name, shape in (
                part.split(":") for part in accelerator.parameters[f"trt_profile_{end}_shapes"].split(",")
            )
        }
        for end in ("min", "opt", "max")
    }
    for end in shapes:
        assert list(shapes[end]) == ["input_ids", "attention_mask"]
        assert shapes[end]["input_ids"] == shapes[end]["attention_mask"]
    assert shapes["min"]["input_ids"] == [1, 1]
    assert all(np.array(shapes["opt"]["input_ids"]) <= shapes["max"]["input_ids"])
    assert shapes["max"]["input_ids"][0] == _parsed(fp32 / "configs" / "tensorrt-ep.pbtxt").max_batch_size
    for cache in ("engine", "timing"):
        assert accelerator.parameters[f"trt_{cache}_cache_enable"] == "1"
        assert accelerator.parameters[f"trt_{cache}_cache_path"]


def test_an_export_is_not_replaced_unasked(tmp_path: Path) -> None:
    plan_model("tiny", tmp_path)
    with pytest.raises(ExportError, match="--force replaces it"):
        plan_model("tiny", tmp_path)
    with pytest.raises(ExportError, match="--force replaces it"):
        export("tiny", repository=tmp_path)  # the packed model has the padding front's name
    plan_model("tiny", tmp_path, force="yes")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["qwen3_embedding", "qwen3_embedding_trt"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int8"}, "int8 is not for TensorRT; choose one of bf16, fp16, fp32"),
        ({"ort_version": "1.27"}, "leave them out for TensorRT"),
        ({"attention": "gqa"}, "leave them out for TensorRT"),
        ({"version": 2}, "--version is not supported for TensorRT"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        plan_model("tiny", tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


def test_the_packed_export_loads_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from qwen3_export import export\n"
        "export('tiny', repository=Path(sys.argv[1]))\n"
        "print(sorted({'torch', 'transformers', 'optimum', 'qwen3_export.tensorrt'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _parsed(path: Path) -> ModelConfig:
    return text_format.Parse(path.read_text(), ModelConfig())


def _scale_embeddings(path: Path, factor: float) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = load_file(path)
    tensors["model.embed_tokens.weight"] *= factor
    save_file(tensors, path)
