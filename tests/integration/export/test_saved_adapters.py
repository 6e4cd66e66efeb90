"""Adapters that sentence-transformers saved: what stands beside the adapter's weights goes before the base model's."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from peft import LoraConfig, get_peft_model
from qwen3_export import ExportError, export
from sentence_transformers import SentenceTransformer
from support.checkpoints import Shape, make_checkpoint
from support.cross_encoders import TEMPLATE, edit_json, write_tokenizer
from support.oracle import random_texts
from support.packed import PackedSession
from support.sentence_transformers_folders import library_vectors, make_folder
from torch import nn
from transformers import Qwen3ForCausalLM
from tritonclient.grpc.model_config_pb2 import ModelConfig

# PEFT asks transformers for an attribute by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

TEXTS = random_texts([1, 2, 7, 33, 90])


def parameters_of(directory: Path) -> dict[str, str]:
    parsed = text_format.Parse((directory / "config.pbtxt").read_text(), ModelConfig())
    return {key: value.string_value for key, value in parsed.parameters.items()}


def save_adapter(folder: Path, **options: Any) -> tuple[Path, Path]:  # noqa: ANN401
    """Train, as it were, an adapter with a model of sentence-transformers.

    Args:
        folder: An empty folder.
        **options: Of `make_folder`: what the model is.

    Returns:
        The adapter's folder, as the library saves it; and that of the merged model, to compare with.
    """
    model = make_folder(folder / "model", **options)
    trained = SentenceTransformer(
        str(model), device="cpu", model_kwargs={"dtype": torch.float32}, prompts={"query": "Q: ", "document": "D: "}
    )
    trained.max_seq_length = 100
    torch.manual_seed(3)
    adapted = get_peft_model(trained[0].auto_model, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "up_proj"]))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(std=0.1)
    merged, adapter = folder / "merged", folder / "adapter"
    adapted.save_pretrained(str(adapter))
    adapted.merge_and_unload()
    trained.save_pretrained(str(merged), create_model_card=False)
    # The library writes the same files beside an adapter, but for the weights and config.json.
    trained.save_pretrained(str(folder / "saved"), create_model_card=False)
    for path in (folder / "saved").iterdir():
        if path.name not in ("config.json", "model.safetensors", "README.md"):
            path.rename(adapter / path.name)
    return adapter, merged


@pytest.mark.parametrize(
    "options",
    [
        {"pooling": "mean"},
        {"pooling": "cls", "normalize": False},
        {"dense": [(48, nn.Tanh(), True)]},
    ],
    ids=str,
)
@pytest.mark.parametrize("base_is_saved", [True, False], ids=["on a saved base", "on a plain base"])
def test_its_modules_settings_and_prompts_are_used(
    tmp_path: Path, options: dict[str, Any], *, base_is_saved: bool
) -> None:
    adapter, merged = save_adapter(tmp_path, **options)
    base = tmp_path / "model-base"  # what `make_folder` starts from: no modules, no prompts
    if base_is_saved:  # by the library, with other modules, prompts and a shorter limit
        SentenceTransformer(str(base), device="cpu", prompts={"query": "X"}).save_pretrained(str(tmp_path / "base"))
        base = tmp_path / "base"
        edit_json(base / "tokenizer_config.json", model_max_length=50)
    directory = export(str(base), repository=tmp_path / "repository", adapter=adapter).directory
    np.testing.assert_allclose(PackedSession(directory).embed(TEXTS), library_vectors(merged, TEXTS), atol=2e-5)
    stated = parameters_of(directory)
    assert (stated["query_prompt"], stated["document_prompt"], stated["max_tokens"]) == ("Q: ", "D: ", "100")
    assert (directory / "tokenizer.json").read_bytes() == (adapter / "tokenizer.json").read_bytes()


def test_its_kind_goes_before_the_name_of_the_base(tmp_path: Path) -> None:
    adapter, _ = save_adapter(tmp_path)
    base = (tmp_path / "model-base").rename(tmp_path / "my-reranker")
    assert export(str(base), repository=tmp_path / "repository").kind.kind == "reranker"
    assert export(str(base), repository=tmp_path / "repository", adapter=adapter).kind.kind == "embedding"


def test_without_prompts_nothing_goes_before_a_text(tmp_path: Path) -> None:
    """As sentence-transformers up to release 4 saves models without prompts."""
    adapter, _ = save_adapter(tmp_path)
    edit_json(adapter / "config_sentence_transformers.json", prompts={})
    directory = export(str(tmp_path / "model-base"), repository=tmp_path / "repository", adapter=adapter).directory
    stated = parameters_of(directory)
    assert stated["query_prompt"] == ""
    assert "default_instruction" not in stated


def test_a_part_of_what_the_library_saves_is_refused(tmp_path: Path) -> None:
    adapter, _ = save_adapter(tmp_path)
    (adapter / "modules.json").unlink()
    with pytest.raises(ExportError, match=r"config_sentence_transformers.json without modules.json; copy the whole"):
        export(str(tmp_path / "model-base"), repository=tmp_path / "repository", adapter=adapter)


def test_whole_weights_beside_an_adapter_are_refused(tmp_path: Path) -> None:
    adapter, merged = save_adapter(tmp_path)
    (merged / "model.safetensors").rename(adapter / "model.safetensors")
    with pytest.raises(ExportError, match="holds whole weights beside the adapter"):
        export(str(tmp_path / "model-base"), repository=tmp_path / "repository", adapter=adapter)


def test_the_tokenizer_of_an_adapter_has_its_template(tmp_path: Path) -> None:
    """PEFT's users save the tokenizer with the adapter; of rerankers it has the chat template."""
    base = make_checkpoint(tmp_path / "base", Shape(dtype="float32", tied=False))
    model = Qwen3ForCausalLM.from_pretrained(base, dtype=torch.float32)
    get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj"])).save_pretrained(str(tmp_path / "adapter"))
    write_tokenizer(tmp_path / "adapter", template=TEMPLATE)
    changed = json.loads((tmp_path / "adapter" / "tokenizer.json").read_text())
    assert changed["model"]["vocab"].pop("no") == 259
    changed["model"]["vocab"]["NO"] = 259
    changed["model"]["merges"].pop()
    (tmp_path / "adapter" / "tokenizer.json").write_text(json.dumps(changed))
    with pytest.raises(ExportError, match=r'adapter/tokenizer.json has no token "no"'):
        export(str(base), repository=tmp_path / "repository", adapter=tmp_path / "adapter", kind="reranker")
    write_tokenizer(tmp_path / "adapter", template=TEMPLATE)
    exported = export(str(base), repository=tmp_path / "repository", adapter=tmp_path / "adapter", kind="reranker")
    assert parameters_of(exported.directory)["default_instruction"] == "Find the passage"
