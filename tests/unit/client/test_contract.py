"""Reading what a served model says about itself."""

import dataclasses
from typing import Any

import pytest
from qwen3_client import ContractMismatchError, ModelInfo, RerankerInfo


def parameters_of(kind: type[ModelInfo | RerankerInfo]) -> list[str]:
    return [field.name for field in dataclasses.fields(kind) if field.name not in ("name", "device", "fingerprint")]


def test_parameters_are_read_with_their_types(config: dict[str, Any]) -> None:
    info = ModelInfo.from_config(config)
    assert (info.name, info.model_family) == ("qwen3_embedding", "Qwen3-Embedding")
    assert (info.source, info.revision, info.model_size, info.precision) == ("tiny", "", "tiny", "fp32")
    assert (info.dimensions, info.max_tokens, info.eos_token_id) == (64, 128, 256)
    assert info.default_instruction == "Find it"
    with pytest.raises(dataclasses.FrozenInstanceError):
        info.dimensions = 3  # type: ignore[misc]


def test_a_reranker_says_the_same_but_what_only_vectors_have(
    config: dict[str, Any], reranker_config: dict[str, Any]
) -> None:
    info = RerankerInfo.from_config(reranker_config)
    assert (info.name, info.model_family, info.max_tokens) == ("qwen3_reranker", "Qwen3-Reranker", 512)
    assert set(parameters_of(ModelInfo)) - set(parameters_of(RerankerInfo)) == {
        "dimensions",
        "eos_token_id",
        "query_prompt",
        "document_prompt",
        "mrl_dimensions",
        "is_normalized",
    }
    assert info.tokenizer_sha256 == ModelInfo.from_config(config).tokenizer_sha256
    assert (info.output_width, ModelInfo.from_config(config).output_width) == (1, 64)


def test_the_tensors_tell_the_kinds_apart(config: dict[str, Any], reranker_config: dict[str, Any]) -> None:
    assert [kind.fits(config) for kind in (ModelInfo, RerankerInfo)] == [True, False]
    assert [kind.fits(reranker_config) for kind in (ModelInfo, RerankerInfo)] == [False, True]
    for other in ({}, {**config, "output": []}, {**config, "input": []}):
        assert not any(kind.fits(other) for kind in (ModelInfo, RerankerInfo))
    with pytest.raises(
        ContractMismatchError, match=r"'qwen3_reranker' does not work .* as its embedding model: .* with model="
    ):
        ModelInfo.from_config(reranker_config)
    with pytest.raises(
        ContractMismatchError, match=r"'qwen3_embedding' does not work .* as its reranker: .* with reranker="
    ):
        RerankerInfo.from_config(config)


def test_json_of_grpc_is_read_too(config: dict[str, Any]) -> None:
    # protobuf's JSON writes 64-bit integers as strings and leaves out what is empty or false.
    config["input"][0] = {"name": "input_ids", "data_type": "TYPE_INT64", "dims": ["-1"]}
    config["output"][0]["dims"] = ["64"]
    config["parameters"]["revision"] = {}
    assert ModelInfo.from_config(config).revision == ""


@pytest.mark.parametrize(
    "key",
    [
        key
        for key in parameters_of(ModelInfo)
        if not key.endswith("_prompt") and key not in ("mrl_dimensions", "is_normalized")
    ],
)
def test_a_missing_parameter_is_named(config: dict[str, Any], key: str) -> None:
    del config["parameters"][key]
    with pytest.raises(ContractMismatchError, match=f"no parameter '{key}'.*qwen3-triton export"):
        ModelInfo.from_config(config)


@pytest.mark.parametrize("key", [key for key in parameters_of(RerankerInfo) if key != "prompt_template"])
def test_a_reranker_s_missing_parameter_is_named(reranker_config: dict[str, Any], key: str) -> None:
    del reranker_config["parameters"][key]
    with pytest.raises(ContractMismatchError, match=f"no parameter '{key}'.*qwen3-triton export"):
        RerankerInfo.from_config(reranker_config)


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("{query}", r"\{document\} 0 times"),
        ("{query}{query}{document}", r"\{query\} 2 times"),
        ("{instruction}{instruction}{query}{document}", r"\{instruction\} 2 times"),
        ("", "is empty"),
    ],
)
def test_a_template_without_its_placeholders_is_refused(
    reranker_config: dict[str, Any], template: str, fault: str
) -> None:
    reranker_config["parameters"]["prompt_template"] = {"string_value": template}
    with pytest.raises(ContractMismatchError, match=f"parameter 'prompt_template' .*{fault}.*qwen3-triton export"):
        RerankerInfo.from_config(reranker_config)


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
        ("mrl_dimensions", "from 32"),
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


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ([{"name": "score", "data_type": "TYPE_FP32", "dims": [1]}], r"it gives \[score FP32\], not \[.*logit FP32"),
        ([{"name": name, "data_type": "TYPE_FP16", "dims": [1]} for name in ("score", "logit")], "score FP16"),
        ([{"name": name, "data_type": "TYPE_FP32", "dims": [2]} for name in ("score", "logit")], r"shape \[2\]"),
    ],
)
def test_a_reranker_s_other_tensors_are_refused(reranker_config: dict[str, Any], tensors: list[Any], said: str) -> None:
    reranker_config["output"] = tensors
    with pytest.raises(ContractMismatchError, match=said):
        RerankerInfo.from_config(reranker_config)
