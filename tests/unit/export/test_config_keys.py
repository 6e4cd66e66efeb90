"""Every key of config.json is used, known to change nothing, or refused by name."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from qwen3_export import ExportError, export
from qwen3_export.checkpoint.checkpoint import read_checkpoint
from qwen3_export.checkpoint.config_keys import IRRELEVANT, OF_CLASSIFIERS, USED
from qwen3_export.checkpoint.geometry import Geometry
from qwen3_export.checkpoint.random_checkpoint import published_config
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
        ({"model_type": "qwen2"}, "the older family Qwen2, .* bring one"),
        ({"model_type": "qwen3_vl"}, "reads images too, .* bring one"),
        ({"model_type": "qwen3_moe"}, "mixture of experts, .* bring one"),
        ({"model_type": "bert"}, "not of the family Qwen3, .* bring one"),
        ({"architectures": ["VoyageQwen3BidirectionalEmbedModel"]}, "VoyageQwen3.*; bring a model"),
        ({"auto_map": {"AutoModel": "modeling.Model"}}, "auto_map, .* without trust_remote_code"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "with GPTQ; bring .* bfloat16"),
        ({"quantization_config": {"quant_method": "awq"}}, "with AWQ; bring"),
        ({"quantization_config": {"quant_method": "fp8"}}, "with FP8; bring"),
        ({"quantization_config": {"quant_method": "compressed-tensors"}}, "with compressed-tensors; bring"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "'yarn' rope scaling in rope_scaling.*; bring"),
        (
            {
                "rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6, "original_max_position_embeddings": 32768},
                "rope_theta": None,
            },
            "'yarn' rope scaling in rope_parameters.*; bring .* for 32768 tokens",
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


def test_gguf_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model-Q8_0.gguf"
    file.write_bytes(b"GGUF")
    for source in (tmp_path, file):
        with pytest.raises(ExportError, match=r"GGUF, .*; bring the folder with safetensors"):
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
