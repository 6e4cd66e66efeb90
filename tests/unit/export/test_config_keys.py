"""Every key of config.json is used, known to change nothing, or refused by name."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from qwen3_export import ExportError, export
from qwen3_export.checkpoint.checkpoint import read_checkpoint
from qwen3_export.checkpoint.config_keys import IRRELEVANT, OF_CLASSIFIERS, USED
from qwen3_export.checkpoint.geometry import Geometry
from qwen3_export.checkpoint.random_checkpoint import published_config
from qwen3_export.checkpoint.stored_tensor import read_index
from support.random_checkpoints import make_random_checkpoint

# config.json of Qwen/Qwen3-Embedding-0.6B.
PUBLISHED: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151643,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 1024,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "max_position_embeddings": 32768,
    "max_window_layers": 28,
    "model_type": "qwen3",
    "num_attention_heads": 16,
    "num_hidden_layers": 28,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.51.3",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 151669,
}


def test_the_published_config_and_that_of_transformers_5_are_the_same_model() -> None:
    today: dict[str, Any] = {
        key: value for key, value in PUBLISHED.items() if key not in ("rope_scaling", "rope_theta", "torch_dtype")
    }
    today |= {
        "dtype": "bfloat16",
        "layer_types": ["full_attention"] * 28,
        "pad_token_id": None,
        "rope_parameters": {"rope_theta": 1000000, "rope_type": "default"},
    }
    assert Geometry.from_config(PUBLISHED) == Geometry.from_config(today)
    assert Geometry.from_config(PUBLISHED) == Geometry.from_config(published_config("0.6B"))


def test_no_key_is_in_two_lists() -> None:
    lists = [USED, OF_CLASSIFIERS, *IRRELEVANT.values()]
    assert sum(map(len, lists)) == len(frozenset().union(*lists))


@pytest.mark.parametrize("key", sorted(frozenset().union(*IRRELEVANT.values())))
def test_an_irrelevant_key_changes_nothing(key: str) -> None:
    assert Geometry.from_config(PUBLISHED | {key: 7}) == Geometry.from_config(PUBLISHED)


@pytest.mark.parametrize(
    "changes",
    [
        {"use_sliding_window": True, "sliding_window": 4096, "max_window_layers": 28},  # no layer is beyond the 28th
        {"use_sliding_window": True, "sliding_window": 32768, "max_window_layers": 0},  # no text is longer
        {"use_sliding_window": False, "sliding_window": 4096, "max_window_layers": 0},
        {"is_causal": True, "use_bidirectional_attention": False},
        {"quantization_config": None, "auto_map": None, "a_key_of_the_future": None},
        {"rope_scaling": {"type": "default"}},
        {"rope_scaling": {"rope_type": "default", "rope_theta": 1e6}, "rope_theta": None},
    ],
)
def test_other_forms_of_the_plain_model(changes: dict[str, Any]) -> None:
    assert Geometry.from_config(PUBLISHED | changes) == Geometry.from_config(PUBLISHED)


@pytest.mark.parametrize("changes", [{"is_causal": False}, {"use_bidirectional_attention": True}])
def test_both_names_of_full_attention_are_read(changes: dict[str, Any]) -> None:
    assert not Geometry.from_config(PUBLISHED | changes).is_causal


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model_type": "qwen2"}, "the older family Qwen2, .* use one"),
        ({"model_type": "qwen3_vl"}, "reads images too, .* use one"),
        ({"model_type": "qwen3_moe"}, "mixture of experts, .* use one"),
        ({"model_type": "bert"}, "not of the family Qwen3, .* use one"),
        ({"architectures": ["VoyageQwen3BidirectionalEmbedModel"]}, "VoyageQwen3.*; use a model"),
        ({"auto_map": {"AutoModel": "modeling.Model"}}, "auto_map, .* without trust_remote_code"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "with GPTQ; use .* bfloat16"),
        ({"quantization_config": {"quant_method": "awq"}}, "with AWQ; use"),
        ({"quantization_config": {"quant_method": "fp8"}}, "with FP8; use"),
        ({"quantization_config": {"quant_method": "compressed-tensors"}}, "with compressed-tensors; use"),
        ({"rope_scaling": {"type": "dynamic", "factor": 4.0}}, "'dynamic' rope scaling in rope_scaling.*; use"),
        ({"rope_scaling": {"type": "yarn"}}, "yarn in rope_scaling without a factor"),
        (
            {"rope_scaling": {"type": "yarn", "factor": "4"}},
            "factor = '4' in rope_scaling, which is not a positive num",
        ),
        ({"rope_scaling": {"type": "yarn", "factor": 4, "long_factor": [1]}}, r"long_factor = \[1\] in rope_scaling"),
        (
            {"rope_scaling": {"type": "yarn", "factor": 4}, "rope_parameters": {"rope_theta": 1e6}},
            "two rotary embeddings",
        ),
        (
            {
                "rope_parameters": {
                    "rope_type": "llama3",
                    "rope_theta": 1e6,
                    "original_max_position_embeddings": 32768,
                },
                "rope_theta": None,
            },
            "'llama3' rope scaling in rope_parameters.*; use .* for 32768 tokens",
        ),
        ({"rope_parameters": {"rope_theta": 1e6, "partial_rotary_factor": 0.5}}, "partial_rotary_factor = 0.5"),
        ({"rope_parameters": {"rope_theta": 1e4}}, "two values of rope_theta"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e6}}}, "full_attention = "),
        ({"rope_theta": None}, "lacks 'rope_theta'"),
        ({"use_sliding_window": True, "sliding_window": 4096, "max_window_layers": 20}, "sliding_window = 4096"),
        ({"layer_types": ["full_attention", "sliding_attention"] * 14}, "layers with sliding_attention"),
        ({"is_causal": True, "use_bidirectional_attention": True}, "contradict each other"),
        ({"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
        ({"attention_bias": True}, "attention_bias = True"),
        ({"mlp_bias": True}, "mlp_bias = True"),
        ({"per_layer_config": {"0": {"head_dim": 64}}}, "per_layer_config"),
        ({"logit_scale": 0.5}, "logit_scale = 0.5, which export does not know"),
    ],
)
def test_what_changes_the_arithmetic_is_refused_by_name(changes: Mapping[str, Any], reason: str) -> None:
    with pytest.raises(ExportError, match=reason) as error:
        Geometry.from_config({**PUBLISHED, **changes})
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    "name",
    ["linear.weight", "layers.0.self_attn.q_proj.bias", "layers.2.mlp.up_proj.weight", "layers.0.mlp.gate.weight"],
)
def test_a_tensor_that_no_qwen3_model_has_is_refused(tmp_path: Path, name: str) -> None:
    folder = make_random_checkpoint(tmp_path / "model")
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"][name] = "more.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    safetensors.numpy.save_file({f"model.{name}": np.zeros((8, 64), np.float32)}, folder / "more.safetensors")
    with pytest.raises(ExportError, match=f"holds {name}, which a Qwen3 model of 2 layers does not have"):
        export(str(folder), repository=tmp_path / "repository")


@pytest.mark.parametrize(
    ("key", "value", "form"),
    [
        ("hidden_size", "64", "a positive whole number"),
        ("hidden_size", 64.0, "a positive whole number"),
        ("num_attention_heads", True, "a positive whole number"),
        ("num_key_value_heads", 0, "a positive whole number"),
        ("num_hidden_layers", -1, "a positive whole number"),
        ("max_position_embeddings", [32768], "a positive whole number"),
        ("sliding_window", "4096", "a positive whole number"),
        ("max_window_layers", 2.5, "a whole number"),
        ("rms_norm_eps", "1e-6", "a positive number"),
        ("rope_theta", "1000000", "a positive number"),
        ("rope_theta", float("nan"), "a positive number"),
        ("rope_parameters", 5, "an object"),
        ("rope_scaling", "yarn", "an object"),
        ("layer_types", "full_attention", "a list of names"),
        ("architectures", "Qwen3Model", "a list of names"),
        ("tie_word_embeddings", "false", "true or false"),
        ("is_causal", 0, "true or false"),
        ("use_sliding_window", "no", "true or false"),
        ("num_labels", "one", "a positive whole number"),
    ],
)
def test_a_value_of_another_type_is_refused(key: str, value: object, form: str) -> None:
    with pytest.raises(ExportError, match=re.escape(f"{key} = {value!r}, which is not {form}")):
        Geometry.from_config(PUBLISHED | {key: value})


@pytest.mark.parametrize("key", ["num_key_value_heads", "hidden_size", "rms_norm_eps", "max_position_embeddings"])
@pytest.mark.parametrize("is_null", [True, False], ids=["null", "missing"])
def test_a_size_that_is_not_stated_is_refused(key: str, *, is_null: bool) -> None:
    config = PUBLISHED | {key: None}
    if not is_null:
        del config[key]
    with pytest.raises(ExportError, match=f"config.json lacks '{key}'"):
        Geometry.from_config(config)


def test_a_theta_of_another_type_is_refused() -> None:
    with pytest.raises(ExportError, match="rope_theta = '1e6' in rope_parameters"):
        Geometry.from_config(PUBLISHED | {"rope_theta": None, "rope_parameters": {"rope_theta": "1e6"}})


def spoil(folder: Path, name: str, value: float) -> None:
    """Put a value into a tensor of a checkpoint."""
    file = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"][name]
    tensors = safetensors.numpy.load_file(folder / file)
    tensors[name].flat[-1] = value
    safetensors.numpy.save_file(tensors, folder / file)


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4-weight"])
@pytest.mark.parametrize(
    "name", ["embed_tokens.weight", "norm.weight", "layers.1.input_layernorm.weight", "layers.0.mlp.up_proj.weight"]
)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, precision: Any, name: str, value: float) -> None:  # noqa: ANN401
    folder = make_random_checkpoint(tmp_path / "model")
    spoil(folder, name, value)
    with pytest.raises(ExportError, match=f"holds NaN or infinity in {name}"):
        export(str(folder), repository=tmp_path / "repository", precision=precision)
    assert not list((tmp_path / "repository").iterdir())


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_every_finite_number_is_taken(tmp_path: Path, dtype: Any) -> None:  # noqa: ANN401
    largest = float(ml_dtypes.finfo(dtype).max)  # type: ignore[no-untyped-call]
    values = np.array([[0, -0.0, largest, -largest], [1, 2, 3, 4]], dtype)
    safetensors.numpy.save_file({"x": values}, tmp_path / "x.safetensors")
    stored = read_index(tmp_path / "x.safetensors")["x"]
    np.testing.assert_array_equal(stored.values(), values)
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in stored.stripes()]), values.astype(np.float32))


def test_weights_beyond_fp16_are_refused_in_fp16(tmp_path: Path) -> None:
    folder = make_random_checkpoint(tmp_path / "model")
    spoil(folder, "layers.0.mlp.up_proj.weight", -70_000)
    with pytest.raises(ExportError, match=r"holds 70144, and fp16 ends at 65504; export with --precision bf16"):
        export(str(folder), repository=tmp_path / "repository", device="cuda", precision="fp16")
    export(str(folder), repository=tmp_path / "repository", device="cuda")


def test_an_adapter_alone_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "Qwen/Qwen3-Embedding-4B"}')
    with pytest.raises(ExportError, match=r"without its base model; .* export Qwen/Qwen3-Embedding-4B --adapter /"):
        export(str(tmp_path), repository=tmp_path / "repository")


def test_an_adapter_beside_whole_weights_is_refused(tmp_path: Path) -> None:
    folder = make_random_checkpoint(tmp_path / "model")
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(ExportError, match=r"an adapter \(adapter_config.json\) beside whole weights"):
        export(str(folder), repository=tmp_path / "repository")


def test_code_of_a_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = make_random_checkpoint(tmp_path / "model")
    (folder / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["tokenization.Mine", null]}}')
    with pytest.raises(ExportError, match=r"tokenizer_config.json names Python code of its own in auto_map"):
        export(str(folder), repository=tmp_path / "repository")


def test_weights_that_are_there_twice_are_refused(tmp_path: Path) -> None:
    folder = make_random_checkpoint(tmp_path / "model")
    safetensors.numpy.save_file({"model.norm.weight": np.ones(64, np.float32)}, folder / "model.safetensors")
    with pytest.raises(ExportError, match=r"the weights twice, in model.safetensors and in the shards"):
        export(str(folder), repository=tmp_path / "repository")
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"]["model.norm.weight"] = "model.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ExportError, match=r"holds norm.weight twice, in model-00001-of-00003.safetensors and in model"):
        export(str(folder), repository=tmp_path / "repository")


@pytest.mark.parametrize("length", ["long", 0, -1, True, [512]])
def test_a_length_that_is_none_is_refused(tmp_path: Path, length: object) -> None:
    folder = make_random_checkpoint(tmp_path / "model")
    (folder / "modules.json").write_text("[]")
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": length}))
    with pytest.raises(ExportError, match="which is not a number of tokens"):
        read_checkpoint(folder, source="here")


def test_gguf_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model-Q8_0.gguf"
    file.write_bytes(b"GGUF")
    for source in (tmp_path, file):
        with pytest.raises(ExportError, match=r"GGUF, .*; use the folder with safetensors"):
            export(str(source), repository=tmp_path / "repository")


@pytest.mark.parametrize(
    ("file", "key"), [("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length")]
)
def test_texts_are_as_long_as_the_library_lets_them_be(tmp_path: Path, file: str, key: str) -> None:
    folder = make_random_checkpoint(tmp_path / "model")
    (folder / file).write_text(json.dumps({key: 512}))
    assert read_checkpoint(folder, source="here").geometry.max_tokens == 2048, "not a folder of the library"
    (folder / "modules.json").write_text("[]")
    assert read_checkpoint(folder, source="here").geometry.max_tokens == 512
    (folder / file).write_text(json.dumps({key: 10**30}))
    assert read_checkpoint(folder, source="here").geometry.max_tokens == 2048


@pytest.mark.parametrize(
    ("file", "changes", "reason"),
    [
        ("sentence_bert_config.json", {"do_lower_case": True}, "do_lower_case = True"),
        ("sentence_bert_config.json", {"transformer_task": "text-generation"}, "transformer_task"),
        ("sentence_bert_config.json", {"processing_kwargs": {"text": {"max_length": 4}}}, "processing_kwargs"),
        ("sentence_bert_config.json", {"modality_config": {"text": {"method": "x"}}}, "modality_config.text"),
        ("sentence_bert_config.json", {"stride": 3}, "stride = 3, which export does not know"),
        ("config_sentence_transformers.json", {"truncate_dim": 32}, "truncate_dim = 32.* ask the client"),
        ("config_sentence_transformers.json", {"model_type": "SparseEncoder"}, "model_type = 'SparseEncoder'"),
        ("config_sentence_transformers.json", {"scale": 3}, "scale = 3, which export does not know"),
    ],
)
def test_settings_of_the_library_that_change_a_vector_are_refused(
    tmp_path: Path, file: str, changes: dict[str, Any], reason: str
) -> None:
    folder = make_random_checkpoint(tmp_path / "model")
    (folder / file).write_text(json.dumps(changes))
    (folder / "modules.json").write_text("[]")
    with pytest.raises(ExportError, match=reason):
        export(str(folder), repository=tmp_path / "repository", kind="embedding")
