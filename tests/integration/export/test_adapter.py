"""LoRA adapters: an export with `--adapter` equals PEFT's own merged model."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from qwen3_export import ExportError, export
from support.checkpoints import Shape, make_checkpoint
from support.cross_encoders import edit_json
from support.oracle import random_texts, reference_embeddings, reference_logits
from support.packed import PackedSession
from transformers import Qwen3ForCausalLM, Qwen3Model

# PEFT asks transformers for an attribute by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

TEXTS = random_texts([1, 2, 7, 33, 100, 257])
EVERY = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def make_adapter(base: Path, folder: Path, *, headless: bool = True, **options: Any) -> Path:  # noqa: ANN401
    """Save an adapter with random weights, trained as it were on `base`, and return its folder."""
    torch.manual_seed(7)
    model = (Qwen3Model if headless else Qwen3ForCausalLM).from_pretrained(base, dtype=torch.float32)
    adapted = get_peft_model(model, LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": EVERY, **options}))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if ".lora_B." in name:  # zero at first, which would make the adapter one without effect
                parameter.normal_(std=0.1)
    adapted.save_pretrained(str(folder))
    return folder


def merged(base: Path, adapter: Path, folder: Path, *, headless: bool = True) -> Path:
    """Save what PEFT's `merge_and_unload` makes of both, in float32, and return its folder."""
    model = (Qwen3Model if headless else Qwen3ForCausalLM).from_pretrained(base, dtype=torch.float32)
    PeftModel.from_pretrained(model, str(adapter)).merge_and_unload().save_pretrained(folder)
    for file in ("tokenizer.json",):
        (folder / file).write_bytes((base / file).read_bytes())
    return folder


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"headless": False, "task_type": "CAUSAL_LM"},
        {"target_modules": "all-linear", "headless": False},
        {"target_modules": ["v_proj", "up_proj"]},
        {"target_modules": r".*layers\.1\..*(q|down)_proj"},
        {"exclude_modules": ["layers.0.mlp.up_proj"]},
        {"layers_to_transform": [1], "layers_pattern": "layers", "headless": False},
        {"use_rslora": True, "r": 6},
        {"rank_pattern": {"q_proj": 2, r"layers\.1\.mlp\.up_proj": 8}, "alpha_pattern": {"v_proj": 32, "q_proj": 3}},
        {"init_lora_weights": "gaussian", "lora_dropout": 0.1},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_equals_peft(tmp_path: Path, dtype: Any, options: dict[str, Any]) -> None:  # noqa: ANN401
    base = make_checkpoint(tmp_path / "base", Shape(dtype=dtype))
    adapter = make_adapter(base, tmp_path / "adapter", **options)
    directory = export(str(base), repository=tmp_path, adapter=adapter).directory
    whole = merged(base, adapter, tmp_path / "merged", headless=options.get("headless", True))
    reference = reference_embeddings(whole, TEXTS)
    vectors = PackedSession(directory).embed(TEXTS)
    np.testing.assert_allclose(vectors, reference, atol=2e-6)
    assert np.abs(reference_embeddings(base, TEXTS) - reference).max() > 1e-2, "the adapter changes nothing"


@pytest.mark.parametrize("precision", ["int8", "int4-weight"])
def test_quantized_precisions_quantize_the_merged_weights(tmp_path: Path, precision: Any) -> None:  # noqa: ANN401
    base = make_checkpoint(tmp_path / "base", Shape())
    adapter = make_adapter(base, tmp_path / "adapter")
    whole = merged(base, adapter, tmp_path / "merged")
    vectors = [
        PackedSession(
            export(str(source), repository=tmp_path, name=name, precision=precision, adapter=with_).directory
        ).embed(TEXTS)
        for source, name, with_ in ((base, "streamed", adapter), (whole, "whole", None))
    ]
    # A value at the border of two steps may be rounded to either.
    assert (vectors[0] * vectors[1]).sum(axis=1).min() > 0.9995
    assert (vectors[0] * reference_embeddings(base, TEXTS)).sum(axis=1).min() < 0.99


def test_a_reranker_takes_an_adapter(tmp_path: Path) -> None:
    base = make_checkpoint(tmp_path / "base", Shape(tied=False))
    adapter = make_adapter(base, tmp_path / "adapter", headless=False)
    directory = export(str(base), repository=tmp_path, adapter=adapter, kind="reranker").directory
    whole = merged(base, adapter, tmp_path / "merged", headless=False)
    reference = reference_logits(whole, TEXTS, yes=258, no=259)
    np.testing.assert_allclose(PackedSession(directory).run(TEXTS)["logit"][:, 0], reference, atol=1e-4)


def test_the_model_says_which_adapter_it_has(tmp_path: Path) -> None:
    base = make_checkpoint(tmp_path / "base", Shape())
    adapter = make_adapter(base, tmp_path / "adapter")
    directory = export(str(base), repository=tmp_path, adapter=adapter).directory
    digest = hashlib.sha256((adapter / "adapter_model.safetensors").read_bytes()).hexdigest()
    manifest = json.loads((directory / "manifest.json").read_text())
    assert (manifest["adapter"], manifest["adapter_sha256"]) == (str(adapter), digest)
    for config in ("config.pbtxt", "configs/embedded.pbtxt"):
        assert digest in (directory / config).read_text()
    plain = export(str(base), repository=tmp_path, name="plain").directory
    assert "adapter" not in (plain / "config.pbtxt").read_text()
    assert "adapter" not in json.loads((plain / "manifest.json").read_text())


def test_another_base_is_noted(tmp_path: Path) -> None:
    base = make_checkpoint(tmp_path / "base", Shape())
    adapter = make_adapter(base, tmp_path / "adapter")
    command = [sys.executable, "-m", "qwen3_client", "export", str(base), "--adapter", str(adapter)]
    command += ["--repository", str(tmp_path / "repository"), "--force"]
    same = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "was trained on" not in same.stderr
    edit_json(adapter / "adapter_config.json", base_model_name_or_path="Qwen/Qwen3-Embedding-4B")
    other = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert f"note: the adapter was trained on Qwen/Qwen3-Embedding-4B and is merged into {base};" in other.stderr


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"use_dora": True}, "use_dora = True"),
        ({"bias": "lora_only"}, "bias = 'lora_only'"),
        ({"lora_bias": True}, "lora_bias = True"),
        ({"modules_to_save": ["score"]}, r"modules_to_save = \['score'\]"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"target_parameters": ["x"]}, "target_parameters"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"layer_replication": [[0, 1]]}, "layer_replication"),
        ({"a_field_of_the_future": 1}, "a_field_of_the_future"),
        ({"init_lora_weights": "pissa_niter_4"}, "changed the base model too"),
        ({"peft_type": "LOHA"}, "'LOHA' adapter"),
        ({"layers_pattern": "blocks", "layers_to_transform": [0]}, "layers_pattern"),
        ({"target_modules": None}, "no target_modules"),
        ({"r": 0}, "r = 0"),
        ({"r": 5}, "need"),
        ({"target_modules": ["q_proj"]}, r"adapts layers\.0\.mlp\.down_proj, .* and 9 more"),
    ],
    ids=str,
)
def test_what_is_not_plain_lora_is_refused(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    base = make_checkpoint(tmp_path / "base", Shape())
    adapter = make_adapter(base, tmp_path / "adapter")
    edit_json(adapter / "adapter_config.json", **fields)
    with pytest.raises(ExportError, match=message):
        export(str(base), repository=tmp_path / "repository", adapter=adapter)
    assert not list((tmp_path / "repository").glob("*"))


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
@pytest.mark.parametrize(
    "options", [{"use_dora": True}, {"target_modules": ["embed_tokens"]}, {"bias": "all"}], ids=str
)
def test_what_peft_saves_of_other_kinds_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    base = make_checkpoint(tmp_path / "base", Shape())
    adapter = make_adapter(base, tmp_path / "adapter", **options)
    with pytest.raises(ExportError, match=r"can be merged|is not plain LoRA"):
        export(str(base), repository=tmp_path / "repository", adapter=adapter)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing half", "lacks an update of layers.0.mlp.down_proj"),
        ("missing module", "lacks an update of layers.1.self_attn.v_proj"),
        ("surplus", "holds base_model.model.layers.0.self_attn.q_norm.lora_A.weight"),
        ("other layer", "adapts layers.2.self_attn.q_proj"),
        ("other shape", "use the base model that the adapter was trained on"),
        ("empty", "holds no updates"),
    ],
)
def test_tensors_must_fit(tmp_path: Path, change: str, message: str) -> None:
    base = make_checkpoint(tmp_path / "base", Shape())
    adapter = make_adapter(base, tmp_path / "adapter")
    path = adapter / "adapter_model.safetensors"
    tensors = safetensors.numpy.load_file(path)
    prefix = "base_model.model.layers."
    if change == "missing half":
        del tensors[f"{prefix}0.mlp.down_proj.lora_B.weight"]
    elif change == "missing module":
        tensors = {name: values for name, values in tensors.items() if "1.self_attn.v_proj" not in name}
    elif change == "surplus":
        tensors[f"{prefix}0.self_attn.q_norm.lora_A.weight"] = np.zeros((4, 32), np.float32)
    elif change == "other layer":
        tensors[f"{prefix}2.self_attn.q_proj.lora_A.weight"] = np.zeros((4, 64), np.float32)
    elif change == "other shape":
        tensors[f"{prefix}0.self_attn.q_proj.lora_A.weight"] = np.zeros((4, 128), np.float32)
    else:
        tensors = {}
    safetensors.numpy.save_file(tensors, path)
    with pytest.raises(ExportError, match=message):
        export(str(base), repository=tmp_path / "repository", adapter=adapter)


def test_a_folder_without_an_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="name a folder in which PEFT saved"):
        export("tiny", repository=tmp_path, adapter=tmp_path)
    (tmp_path / "adapter_config.json").write_text(
        '{"peft_type": "LORA", "r": 4, "lora_alpha": 4, "target_modules": []}'
    )
    with pytest.raises(ExportError, match="as safetensors"):
        export("tiny", repository=tmp_path, adapter=tmp_path)
