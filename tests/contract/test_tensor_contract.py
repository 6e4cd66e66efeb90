"""Three packages that never import one another agree on the tensors: configs, exported graph, client."""

import re
from pathlib import Path

import onnxruntime as ort
import pytest
from google.protobuf import text_format
from qwen3_client import contract as client
from qwen3_client.prompts import query_prompt
from qwen3_export import export
from qwen3_export.kind import Kind
from qwen3_export.packed_directory import DEFAULT_INSTRUCTION
from qwen3_export.target import Device
from support.qwen_tokenizer import build_qwen_tokenizer
from tritonclient.grpc.model_config_pb2 import BatchInput, DataType, ModelConfig

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "export" / "qwen3_export" / "templates"
CONFIGS = sorted([*TEMPLATES.glob("qwen3_*/config.pbtxt"), *TEMPLATES.glob("qwen3_*/configs/*.pbtxt")])


def parse(path: Path) -> ModelConfig:
    return text_format.Parse(path.read_text(), ModelConfig())


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export("tiny", repository=tmp_path_factory.mktemp("repository")).directory


def test_there_are_configs() -> None:
    assert {path.relative_to(TEMPLATES).as_posix() for path in CONFIGS} >= {
        "qwen3_embedding/config.pbtxt",
        "qwen3_embedding/configs/embedded.pbtxt",
        "qwen3_embedding/configs/embedded_cuda.pbtxt",
    }


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_committed_config_parses(path: Path) -> None:
    config = parse(path)
    assert config.max_batch_size > 1
    assert config.HasField("dynamic_batching")
    assert [group.count for group in config.instance_group] == [1], "a second instance doubles the weights"


@pytest.mark.parametrize("kind", ["embedding", "reranker"])
@pytest.mark.parametrize(
    ("device", "template", "written"),
    [
        ("cpu", "config.pbtxt", "config.pbtxt"),
        ("cpu", "configs/embedded.pbtxt", "configs/embedded.pbtxt"),
        ("cuda", "configs/embedded_cuda.pbtxt", "configs/embedded.pbtxt"),
    ],
)
def test_every_template_shows_every_parameter(
    tmp_path: Path, kind: Kind, device: Device, template: str, written: str
) -> None:
    directory = export("tiny", repository=tmp_path, kind=kind, device=device).directory
    shown = parse(TEMPLATES / f"qwen3_{kind}" / template).parameters
    assert set(shown) == set(parse(directory / written).parameters)


@pytest.mark.parametrize("name", ["config.pbtxt", "configs/embedded.pbtxt"])
def test_config_graph_and_client_name_the_same_tensors(exported: Path, name: str) -> None:
    config = parse(exported / name)
    (tensor,) = config.input
    assert tensor.name == client.INPUT_NAME
    assert tensor.data_type == DataType.Value("TYPE_INT64")
    assert client.INPUT_TYPE == "INT64"
    assert list(tensor.dims) == [-1]
    assert tensor.allow_ragged_batch
    output, fingerprint = config.output
    assert (fingerprint.name, fingerprint.data_type) == ("fingerprint", DataType.Value("TYPE_INT64"))
    assert output.name == client.EMBEDDING_NAME
    assert output.data_type == DataType.Value("TYPE_FP32")
    assert client.OUTPUT_TYPE == "FP32"

    session = ort.InferenceSession(str(exported / "1" / "model.onnx"), providers=["CPUExecutionProvider"])
    inputs = {tensor.name: (tensor.type, tensor.shape) for tensor in session.get_inputs()}
    assert inputs == {
        client.INPUT_NAME: ("tensor(int64)", ["tokens"]),
        "lengths": ("tensor(int32)", ["batch", 1]),
    }
    graph_output, kept, number = session.get_outputs()
    assert (number.name, number.type, number.shape) == ("fingerprint", "tensor(int64)", ["batch", *fingerprint.dims])
    assert kept.name == "kept", "for the embedded host only; Triton ignores outputs that a configuration does not name"
    assert (graph_output.name, graph_output.type) == (client.EMBEDDING_NAME, "tensor(float)")
    assert graph_output.shape == ["batch", *output.dims]

    client.ModelInfo.from_config(_as_json(config, "qwen3_embedding"))  # raises if the client would refuse it


def test_triton_derives_the_lengths_by_item_shape(exported: Path) -> None:
    (lengths,) = parse(exported / "config.pbtxt").batch_input
    assert lengths.kind == BatchInput.BATCH_ITEM_SHAPE
    assert list(lengths.target_name) == ["lengths"]
    assert list(lengths.source_input) == [client.INPUT_NAME]
    assert lengths.data_type == DataType.Value("TYPE_INT32")


@pytest.mark.parametrize("name", ["config.pbtxt", "configs/embedded.pbtxt"])
def test_an_export_changes_only_what_is_below_the_line(exported: Path, name: str) -> None:
    above = [
        re.split(r"^# ---- Below", (folder / name).read_text(), flags=re.MULTILINE)[0]
        for folder in (TEMPLATES / "qwen3_embedding", exported)
    ]
    assert above[0] == above[1]
    template = parse(TEMPLATES / "qwen3_embedding" / name)
    assert set(template.parameters) == set(parse(exported / name).parameters), "the template shows every parameter"


def test_both_hosts_get_the_same_facts(exported: Path) -> None:
    production, embedded = parse(exported / "config.pbtxt"), parse(exported / "configs" / "embedded.pbtxt")
    assert production.backend == "onnxruntime"
    assert embedded.backend == "python"
    assert production.output == embedded.output
    assert production.input == embedded.input
    # The embedded host divides what Triton hands over by tokens; the backend runs it as it is.
    assert (production.max_batch_size, embedded.max_batch_size) == (32, 64)
    own_settings = {"intra_op_thread_count", "enable_mem_pattern"}
    own_settings |= {"max_batch_tokens", "max_slots_per_token", "prefix_cache_tokens"}
    assert set(production.parameters) - own_settings == set(embedded.parameters) - own_settings
    for key in set(production.parameters) - own_settings:
        assert production.parameters[key] == embedded.parameters[key]


def test_the_readmes_query_gives_the_genuine_ids() -> None:
    """Known ids of the model card's first query; the end token is appended by tokenizer and client alike."""
    text = query_prompt("What is the capital of China?", instruction=DEFAULT_INSTRUCTION)
    ids = build_qwen_tokenizer().encode(text).ids
    assert ids[:4] == [641, 1235, 25, 16246]
    assert ids[-3:] == [5616, 30, 151643]
    assert len(ids) == 27


def _as_json(config: ModelConfig, name: str) -> dict[str, object]:
    from google.protobuf.json_format import MessageToDict

    return {"name": name, **MessageToDict(config, preserving_proto_field_name=True)}
