"""Reading what a served model says about itself."""

import dataclasses
from typing import Any

import pytest
from qwen3_client import ContractMismatchError, ModelInfo


def test_parameters_are_read_with_their_types(config: dict[str, Any]) -> None:
    info = ModelInfo.from_config(config)
    assert (info.source, info.revision, info.model_size, info.precision) == ("tiny", "", "tiny", "fp32")
    assert (info.dimensions, info.max_tokens, info.eos_token_id) == (64, 128, 256)
    assert info.default_instruction == "Find it"
    with pytest.raises(dataclasses.FrozenInstanceError):
        info.dimensions = 3  # type: ignore[misc]


def test_json_of_grpc_is_read_too(config: dict[str, Any]) -> None:
    # protobuf's JSON writes 64-bit integers as strings and leaves out what is empty or false.
    config["input"][0] = {"name": "input_ids", "data_type": "TYPE_INT64", "dims": ["-1"]}
    config["output"][0]["dims"] = ["64"]
    config["parameters"]["revision"] = {}
    assert ModelInfo.from_config(config).revision == ""


@pytest.mark.parametrize("key", [field.name for field in dataclasses.fields(ModelInfo)])
def test_a_missing_parameter_is_named(config: dict[str, Any], key: str) -> None:
    del config["parameters"][key]
    with pytest.raises(ContractMismatchError, match=f"no parameter '{key}'.*qwen3-triton export"):
        ModelInfo.from_config(config)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dimensions", "many"),
        ("dimensions", "0"),
        ("dimensions", "64.0"),
        ("dimensions", "-64"),
        ("max_tokens", ""),
        ("max_tokens", "0"),
        ("eos_token_id", "-1"),
        ("eos_token_id", "9" * 30),
        ("tokenizer", ""),
        ("tokenizer_sha256", "abc"),
        ("default_instruction", ""),
    ],
)
def test_an_ill_formed_parameter_is_named(config: dict[str, Any], key: str, value: str) -> None:
    config["parameters"][key] = {"string_value": value}
    with pytest.raises(ContractMismatchError, match=f"parameter '{key}' is .*qwen3-triton export"):
        ModelInfo.from_config(config)


@pytest.mark.parametrize(
    ("side", "tensors", "said"),
    [
        ("input", [], r"it takes \[\]"),
        ("input", [{"name": "INPUT0", "data_type": "TYPE_INT64"}], "INPUT0 INT64"),
        ("input", [{"name": "input_ids", "data_type": "TYPE_INT32"}], "input_ids INT32"),
        (
            "input",
            [{"name": "input_ids", "data_type": "TYPE_INT64"}, {"name": "mask", "data_type": "TYPE_INT64"}],
            "mask INT64",
        ),
        ("output", [], r"it gives \[\]"),
        ("output", [{"name": "embedding", "data_type": "TYPE_FP16", "dims": [64]}], "embedding FP16"),
        ("output", [{"name": "score", "data_type": "TYPE_FP32", "dims": [1]}], "score FP32"),
        ("output", [{"name": "embedding", "data_type": "TYPE_FP32", "dims": [32]}], r"shape \[32\]"),
    ],
)
def test_other_tensors_are_refused(config: dict[str, Any], side: str, tensors: list[Any], said: str) -> None:
    config[side] = tensors
    with pytest.raises(ContractMismatchError, match=said):
        ModelInfo.from_config(config)
