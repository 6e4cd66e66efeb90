"""The digest of a model and its fingerprint: the same for the same values, and another one for anything else."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from google.protobuf import text_format
from qwen3_client.fingerprint import PARAMETERS, fingerprint_of
from qwen3_export import export
from qwen3_export.checkpoint.adapter import MergedTensor, merge_adapter
from qwen3_export.checkpoint.checkpoint import read_checkpoint
from qwen3_export.checkpoint.digest import model_digest
from qwen3_export.kind import Kind
from support.random_checkpoints import make_random_checkpoint
from tritonclient.grpc.model_config_pb2 import ModelConfig


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return make_random_checkpoint(tmp_path / "checkpoint")


def digest(folder: Path, kind: Kind = "embedding") -> str:
    return model_digest(read_checkpoint(folder, source="x"), kind)


def weights(folder: Path) -> dict[str, Any]:
    return {
        name: value
        for file in folder.glob("model*.safetensors")
        for name, value in safetensors.numpy.load_file(file).items()
    }


def rewrite(folder: Path, tensors: dict[str, Any]) -> None:
    """Write all weights into one file."""
    for file in folder.glob("model*.safetensors*"):
        file.unlink()
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")


def edit(path: Path, **values: Any) -> None:  # noqa: ANN401
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def parameters(config: Path) -> dict[str, str]:
    parsed = text_format.Parse(config.read_text(), ModelConfig())
    return {key: value.string_value for key, value in parsed.parameters.items()}


def test_the_layout_of_the_files_changes_nothing(checkpoint: Path) -> None:
    before = digest(checkpoint)
    tensors = weights(checkpoint)
    rewrite(checkpoint, {f"model.{name}": tensors[name].astype(np.float32) for name in reversed(tensors)})
    assert digest(checkpoint) == before


def test_what_the_model_does_not_use_changes_nothing(checkpoint: Path) -> None:
    before = digest(checkpoint)
    tensors = weights(checkpoint)
    rewrite(checkpoint, {**tensors, "lm_head.weight": np.ones_like(tensors["embed_tokens.weight"])})
    edit(checkpoint / "config.json", max_position_embeddings=1024, torch_dtype="float32")
    assert digest(checkpoint) == before


@pytest.mark.parametrize("name", ["embed_tokens.weight", "norm.weight", "layers.1.mlp.up_proj.weight"])
def test_one_changed_number_changes_it(checkpoint: Path, name: str) -> None:
    before = digest(checkpoint)
    tensors = {key: value.copy() for key, value in weights(checkpoint).items()}
    tensors[name].reshape(-1)[-1] += 1
    rewrite(checkpoint, tensors)
    assert digest(checkpoint) != before


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: edit(folder / "config.json", rope_theta=10_000.0),
        lambda folder: edit(folder / "config.json", rms_norm_eps=1e-5),
        lambda folder: edit(folder / "config.json", num_attention_heads=8, num_key_value_heads=4, head_dim=16),
    ],
    ids=["rope_theta", "rms_norm_eps", "heads"],
)
def test_other_arithmetic_on_the_same_weights_changes_it(checkpoint: Path, change: Callable[[Path], None]) -> None:
    before = digest(checkpoint)
    change(checkpoint)
    assert digest(checkpoint) != before


def test_pooling_normalisation_and_dense_layers_change_it(checkpoint: Path) -> None:
    def save(*modules: tuple[str, str, dict[str, Any]]) -> str:
        entries = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
        for index, (kind, path, config) in enumerate(modules, 1):
            (checkpoint / path).mkdir(exist_ok=True)
            (checkpoint / path / "config.json").write_text(json.dumps(config))
            entries.append(
                {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
            )
        (checkpoint / "modules.json").write_text(json.dumps(entries))
        return digest(checkpoint)

    def pooling(mode: str) -> tuple[str, str, dict[str, Any]]:
        return "Pooling", "1_Pooling", {"embedding_dimension": 64, "pooling_mode": mode}

    def dense(folder: str, activation: str, *, seed: int = 0) -> tuple[str, str, dict[str, Any]]:
        (checkpoint / folder).mkdir(exist_ok=True)
        weight = np.random.default_rng(seed).standard_normal((32, 64)).astype(np.float32)
        safetensors.numpy.save_file({"linear.weight": weight}, checkpoint / folder / "model.safetensors")
        sizes = {"in_features": 64, "out_features": 32, "bias": False}
        return "Dense", folder, {**sizes, "activation_function": f"torch.nn.modules.activation.{activation}"}

    normalize: tuple[str, str, dict[str, Any]] = ("Normalize", "9_Normalize", {})
    plain = digest(checkpoint)
    assert save(pooling("lasttoken"), normalize) == plain
    found = [
        plain,
        save(pooling("mean"), normalize),
        save(pooling("lasttoken")),
        save(pooling("lasttoken"), dense("2_Dense", "Tanh"), normalize),
        save(pooling("lasttoken"), dense("2_Dense", "ReLU"), normalize),
        save(pooling("lasttoken"), dense("2_Dense", "ReLU", seed=1), normalize),
    ]
    assert len(set(found)) == len(found)
    assert save(pooling("lasttoken"), dense("3_Dense", "ReLU", seed=1), normalize) == found[-1], "the folder's name"


def test_a_reranker_has_another_one_that_follows_its_answers(checkpoint: Path) -> None:
    before = digest(checkpoint, "reranker")
    assert before != digest(checkpoint)
    tokenizer = json.loads((checkpoint / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["yes"], vocabulary["no"] = vocabulary["no"], vocabulary["yes"]
    (checkpoint / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert digest(checkpoint, "reranker") != before


def write_adapter(folder: Path, *, alpha: int = 8, **changed: float) -> Path:
    """Write a LoRA adapter of one projection; a tensor called `down` or `up` has a number added to its last one."""
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    tensors = {}
    for name, half, shape in (("down", "A", (4, 64)), ("up", "B", (128, 4))):
        value = random.standard_normal(shape).astype(np.float32)
        value[-1, -1] += changed.get(name, 0)
        tensors[f"base_model.model.layers.0.self_attn.q_proj.lora_{half}.weight"] = value
    safetensors.numpy.save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": alpha, "target_modules": r"layers\.0\.self_attn\.q_proj"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def test_an_adapter_counts_with_its_parts_and_not_with_a_product_that_depends_on_the_processor(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def adapted(**options: Any) -> str:  # noqa: ANN401
        folder = write_adapter(tmp_path / "adapter", **options)
        return model_digest(merge_adapter(read_checkpoint(checkpoint, source="x"), folder), "embedding")

    first = adapted()
    assert len({digest(checkpoint), first, adapted(alpha=9), adapted(down=1e-3), adapted(up=1e-3)}) == 5
    tensors = {key: value.copy() for key, value in weights(checkpoint).items()}
    stripes = MergedTensor.stripes

    def on_another_processor(tensor: MergedTensor) -> Iterator[tuple[slice, Any]]:
        for rows, stripe in stripes(tensor):
            yield rows, np.nextafter(stripe, np.float32(np.inf))

    monkeypatch.setattr(MergedTensor, "stripes", on_another_processor)
    assert adapted() == first
    tensors["layers.0.self_attn.q_proj.weight"][-1, -1] += 1
    rewrite(checkpoint, tensors)
    assert adapted() != first, "the base model's matrix"


def test_every_file_of_an_export_states_the_same_fingerprint(checkpoint: Path, tmp_path: Path) -> None:
    model = export(str(checkpoint), repository=tmp_path, kind="embedding").directory
    stated = parameters(model / "config.pbtxt")
    assert stated["model_sha256"] == digest(checkpoint)
    assert stated["fingerprint"] == fingerprint_of(stated)
    embedded = parameters(model / "configs" / "embedded.pbtxt")
    assert {key: embedded[key] for key in (*PARAMETERS, "fingerprint") if key in stated} == {
        key: stated[key] for key in (*PARAMETERS, "fingerprint") if key in stated
    }
    manifest = json.loads((model / "manifest.json").read_text())
    assert (manifest["fingerprint"], manifest["model_sha256"]) == (stated["fingerprint"], stated["model_sha256"])


def test_precision_prompts_and_tokenizer_change_the_fingerprint(checkpoint: Path, tmp_path: Path) -> None:
    def exported(folder: Path, **options: Any) -> str:  # noqa: ANN401
        model = export(str(folder), repository=tmp_path, kind="embedding", force=True, **options).directory
        return parameters(model / "config.pbtxt")["fingerprint"]

    prompted = Path(shutil.copytree(checkpoint, tmp_path / "prompted"))
    (prompted / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"document": "Document: "}}))
    other = Path(shutil.copytree(checkpoint, tmp_path / "other"))
    (other / "tokenizer.json").write_text((other / "tokenizer.json").read_text() + "\n")
    found = [exported(checkpoint), exported(checkpoint, precision="int8"), exported(prompted), exported(other)]
    assert len(set(found)) == 4
    moved = Path(shutil.copytree(checkpoint, tmp_path / "elsewhere"))
    assert exported(moved) == found[0], "the source's path"
