"""The first answer that `serve` asks of a model, and whether it is what the model's configuration says."""

import json
from pathlib import Path
from typing import Any, Literal

import pytest
from google.protobuf import text_format
from google.protobuf.json_format import MessageToDict
from qwen3_export import export
from qwen3_serve.errors import ServeError
from qwen3_serve.triton.first_answer import check_first_answer, first_request
from qwen3_serve.triton.text_models import text_models, write_text_models
from qwen3_serve.triton.text_tensors import TextTensors
from tritonclient.grpc.model_config_pb2 import ModelConfig

DIMENSIONS = 64  # of the tiny model
UNIT = [1.0] + [0.0] * (DIMENSIONS - 1)


def as_json(config: Path) -> dict[str, Any]:
    """Return a configuration as Triton gives it over HTTP."""
    message = text_format.Parse(config.read_text("utf-8"), ModelConfig())
    return {"name": config.parent.name, **MessageToDict(message, preserving_proto_field_name=True)}


def exported(repository: Path, kind: Literal["embedding", "reranker"]) -> dict[str, Any]:
    """Return the configuration of an export of the tiny model."""
    return as_json(export("tiny", repository=repository, kind=kind).directory / "config.pbtxt")


@pytest.fixture(scope="module")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return exported(tmp_path_factory.mktemp("embedding"), "embedding")


def answer(**values: object) -> bytes:
    """Return the body of a response with the right fingerprint and these outputs, each a list of values for a text."""
    outputs = [{"name": name, "shape": [1, len(row)], "data": row} for name, row in values.items()]  # type: ignore[arg-type]
    return json.dumps({"outputs": [*outputs, {"name": "fingerprint", "shape": [1, 1], "data": [7]}]}).encode()


def test_a_packed_model_gets_two_ids(embedding: dict[str, Any]) -> None:
    (ids,) = json.loads(first_request(embedding))["inputs"]
    assert ids == {"name": "input_ids", "datatype": "INT64", "shape": [1, 2], "data": [1, 1]}


def test_a_plan_gets_an_attention_mask_too() -> None:
    names = ("input_ids", "attention_mask")
    config = {"input": [{"name": name, "data_type": "TYPE_INT32", "dims": ["-1"]} for name in names]}
    for name, tensor in zip(names, json.loads(first_request(config))["inputs"], strict=True):
        assert tensor == {"name": name, "datatype": "INT32", "shape": [1, 2], "data": [1, 1]}


def test_a_text_model_gets_a_text(tmp_path: Path) -> None:
    export("tiny", repository=tmp_path)
    tensors = TextTensors(input="TEXT", output="VECTOR")
    models = text_models(tmp_path, ["qwen3_embedding"], config_file="config.pbtxt", tensors=tensors)
    write_text_models(models, tmp_path / "text", config_file="config.pbtxt")
    config = as_json(tmp_path / "text" / models[0].name / "config.pbtxt")
    assert json.loads(first_request(config))["inputs"] == [
        {"name": "TEXT", "datatype": "BYTES", "shape": [1], "data": ["a"]}
    ]
    right = {"outputs": [{"name": "VECTOR", "shape": [1, DIMENSIONS], "data": UNIT}]}
    check_first_answer(config, 200, json.dumps(right).encode())


def test_the_right_answer_passes(embedding: dict[str, Any]) -> None:
    check_first_answer(embedding, 200, answer(embedding=UNIT))


def test_a_reranker_s_answer_has_no_norm(tmp_path: Path) -> None:
    config = exported(tmp_path, "reranker")
    check_first_answer(config, 200, answer(score=[0.25], logit=[-1.0986]))
    with pytest.raises(ServeError, match=r"logit should have the shape \[1, 1\], and has None with 0 numbers"):
        check_first_answer(config, 200, answer(score=[0.25]))


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, answer(embedding=[]), r"embedding should have the shape \[1, 64\], and has \[1, 0\] with 0 numbers"),
        (
            200,
            answer(embedding=UNIT[:-1]),
            r"embedding should have the shape \[1, 64\], and has \[1, 63\] with 63 numbers",
        ),
        (200, answer(), r"embedding should have the shape \[1, 64\], and has None with 0 numbers"),
        (200, answer(embedding=[*UNIT[:-1], float("nan")]), "embedding holds a value that is not finite"),
        (200, answer(embedding=[*UNIT[:-1], float("inf")]), "embedding holds a value that is not finite"),
        (200, answer(embedding=[*UNIT[:-1], None]), "embedding holds a value that is not finite"),
        (200, answer(embedding=[0.0] * DIMENSIONS), "embedding should have norm 1, and has 0"),
        (200, answer(embedding=[1.0, 1.0, *UNIT[2:]]), r"embedding should have norm 1, and has 1\.41421"),
        (500, b'{"error":"no memory"}', 'HTTP 500, {"error":"no memory"}'),
        (200, b"hello", "this is no inference response: hello"),
        (200, b"[]", r"this is no inference response: \[\]"),
        (200, b"{}", "this is no inference response: {}"),
    ],
)
def test_a_wrong_answer_is_named(embedding: dict[str, Any], status: int, body: bytes, said: str) -> None:
    with pytest.raises(ServeError, match=f"^{embedding['name']} was loaded, but its answer does not match .*: {said}"):
        check_first_answer(embedding, status, body)


def test_a_model_that_states_that_it_does_not_normalise_may_answer_with_any_norm(embedding: dict[str, Any]) -> None:
    parameters = embedding["parameters"] | {"normalized": {"string_value": "false"}}
    check_first_answer({**embedding, "parameters": parameters}, 200, answer(embedding=[3.0] * DIMENSIONS))
