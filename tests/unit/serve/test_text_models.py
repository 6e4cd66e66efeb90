"""The folder of text models that `serve --text` gives to Triton."""

import argparse
from pathlib import Path

import pytest
from google.protobuf import text_format
from qwen3_serve.cli import add_arguments
from qwen3_serve.triton.text_models import TextModel, text_models, write_text_models
from qwen3_serve.triton.text_tensors import TextTensors
from tritonclient.grpc.model_config_pb2 import ModelConfig

PACKED = (
    'input {{ name: "input_ids" data_type: TYPE_INT64 dims: -1 }} {more} '
    'output {{ name: "{output}" data_type: TYPE_FP32 dims: 64 }}'
)


def packed(repository: Path, name: str, output: str, *, more: str = "") -> None:
    (repository / name).mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(PACKED.format(output=output, more=more))


def made(repository: Path, *names: str) -> list[TextModel]:
    return text_models(
        repository, list(names), config_file="config.pbtxt", tensors=TextTensors(input="IN", output="OUT")
    )


def test_each_packed_model_has_its_text_models_and_a_plan_has_none(tmp_path: Path) -> None:
    packed(tmp_path, "vectors", "embedding")
    packed(tmp_path, "scores", "score")
    packed(tmp_path, "plan", "pooled", more='input { name: "attention_mask" data_type: TYPE_INT64 dims: -1 }')
    models = made(tmp_path, "vectors", "scores", "plan")
    assert [model.name for model in models] == ["vectors_text", "vectors_text_query", "scores_text"]


def test_a_configuration_is_tritons_with_any_path(tmp_path: Path) -> None:
    repository = tmp_path / 'a "quoted" \\ é folder'
    packed(repository, "vectors", "embedding")
    write_text_models(made(repository, "vectors"), tmp_path / "made", config_file="config.pbtxt")
    for name, kind in (("vectors_text", "document"), ("vectors_text_query", "query")):
        config = text_format.Parse((tmp_path / "made" / name / "config.pbtxt").read_text("utf-8"), ModelConfig())
        assert (config.input[0].name, config.output[0].name) == ("IN", "OUT")
        assert list(config.output[0].dims) == [-1, 64]
        assert config.parameters["packed_directory"].string_value == str(repository / "vectors")
        assert config.parameters["kind"].string_value == kind


def test_the_option_takes_the_names_of_two_tensors(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert parser.parse_args([]).text is None
    assert parser.parse_args(["--text"]).text == TextTensors()
    assert parser.parse_args(["--text", "IN:OUT"]).text == TextTensors(input="IN", output="OUT")
    with pytest.raises(SystemExit):
        parser.parse_args(["--text", "IN"])
    assert "INPUT_TEXT:OUTPUT_EMBEDDINGS" in capsys.readouterr().err
