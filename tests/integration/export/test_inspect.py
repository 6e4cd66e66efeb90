"""`inspect` of folders that sentence-transformers, transformers and PEFT wrote, against what `export` and Triton do."""

import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from peft import LoraConfig, get_peft_model
from qwen3_client import Client, InvalidInputError
from qwen3_export import export
from qwen3_export.checkpoint.random_checkpoint import published_config, write_random_checkpoint
from qwen3_export.checkpoint.tiny import write_byte_tokenizer
from qwen3_export.inspect import Inspection, inspect_source
from qwen3_export.inspect.report import as_json, as_text
from qwen3_export.plan import Request
from qwen3_serve import Triton
from sentence_transformers import SentenceTransformer
from support.checkpoints import Shape, make_checkpoint
from support.cross_encoders import make_classifier
from support.measure import anonymous_bytes
from support.sentence_transformers_folders import make_folder
from torch import nn
from transformers import Qwen3Model


def facts_of(folder: Path, **options: Any) -> dict[str, Any]:  # noqa: ANN401
    inspection: Inspection = inspect_source(Request(source=str(folder), **options))
    assert str(folder) in as_text(inspection)
    return as_json(inspection)


def disk_bytes(facts: dict[str, Any], precision: str = "fp32") -> int:
    size: int = next(each["disk_bytes"] for each in facts["precisions"] if each["precision"] == precision)
    return size


def test_modules_of_sentence_transformers(tmp_path: Path) -> None:
    folder = make_folder(
        tmp_path / "model", pooling="mean", dense=[(96, nn.GELU(), True), (48, nn.Identity(), False)], normalize=False
    )
    facts = facts_of(folder)
    assert (facts["exportable"], facts["kind"]) == (True, "embedding")
    assert (facts["pooling"], facts["normalized"], facts["dimensions"]) == ("mean", False, 48)
    assert [(layer["inputs"], layer["outputs"], layer["activation"]) for layer in facts["dense"]] == [
        (64, 96, "gelu"),
        (96, 48, "identity"),
    ]
    assert (facts["mrl_dimensions"], len(facts["notes"])) == ("fixed", 1)
    exported = export(str(folder), repository=tmp_path / "models")
    assert disk_bytes(facts) == pytest.approx(exported.bytes, rel=0.02)
    assert tuple(facts["notes"]) == exported.notes


def test_a_classifier_of_transformers(tmp_path: Path) -> None:
    facts = facts_of(make_classifier(tmp_path / "one"))
    assert (facts["exportable"], facts["kind"]) == (True, "reranker")
    assert facts["head"] == "score of Qwen3ForSequenceClassification"
    refused = facts_of(make_classifier(tmp_path / "three", labels=3))
    assert not refused["exportable"]
    assert "has 3 labels" in refused["refusals"][0]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT asks transformers for it
def test_an_adapter_of_peft(tmp_path: Path) -> None:
    base = make_checkpoint(tmp_path / "base", Shape())
    adapted = get_peft_model(Qwen3Model.from_pretrained(base), LoraConfig(r=4, target_modules=["q_proj", "up_proj"]))
    adapted.save_pretrained(str(tmp_path / "adapter"))
    facts = facts_of(base, adapter=tmp_path / "adapter")
    assert (facts["exportable"], facts["adapter"]) == (True, str(tmp_path / "adapter"))
    exported = export(str(base), repository=tmp_path / "models", adapter=tmp_path / "adapter", precision="int8")
    assert disk_bytes(facts, "int8") == pytest.approx(exported.bytes, rel=0.02)
    missing = facts_of(base, adapter=tmp_path / "nowhere")
    assert "adapter_config.json is missing" in missing["refusals"][0]


@pytest.mark.skipif(
    sys.version_info < (3, 11), reason="datasets, which the trainer needs, comes with mteb from 3.11 on"
)
@pytest.mark.filterwarnings("ignore")  # the trainer's libraries warn of each other
@pytest.mark.parametrize("is_matryoshka", [True, False])
def test_sizes_that_a_training_saw_hold_from_the_folder_to_the_client(tmp_path: Path, *, is_matryoshka: bool) -> None:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss, MultipleNegativesRankingLoss

    model = SentenceTransformer(str(make_folder(tmp_path / "base")), device="cpu")
    loss: nn.Module = MultipleNegativesRankingLoss(model)
    if is_matryoshka:
        loss = MatryoshkaLoss(model, loss, matryoshka_dims=[64, 48, 32])
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path / "run"), max_steps=1, per_device_train_batch_size=2, report_to="none", use_cpu=True
    )
    pairs = Dataset.from_dict({"anchor": ["a", "b"], "positive": ["c", "d"]})
    SentenceTransformerTrainer(model=model, args=arguments, train_dataset=pairs, loss=loss).train()
    model.to(torch.float32).save_pretrained(str(tmp_path / "model"))

    facts = facts_of(tmp_path / "model")
    assert facts["mrl_dimensions"] == ("32,48,64" if is_matryoshka else "fixed")
    assert facts["mrl_reason"].startswith("README.md ")
    assert facts["notes"] == []
    export(str(tmp_path / "model"), repository=tmp_path / "models")
    with Triton(tmp_path / "models", threads=1) as triton, Client(triton.grpc_url) as client:
        assert client.encode_document("text").shape == (64,)
        if is_matryoshka:
            assert client.encode_document("text", dimensions=48).shape == (48,)
        with pytest.raises(InvalidInputError, match="trained"):
            client.encode_document("text", dimensions=40)


def test_the_estimate_of_the_memory_is_about_what_triton_takes(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    sizes = {"num_hidden_layers": 4, "vocab_size": 2000, "max_position_embeddings": 1024}
    write_random_checkpoint(folder, published_config("0.6B") | sizes)
    write_byte_tokenizer(folder)
    facts = facts_of(folder)
    export(str(folder), repository=tmp_path / "models")
    with Triton(tmp_path / "models", threads=1) as triton, Client(triton.grpc_url) as client:
        client.encode_document("x" * 1000)
        processes = [psutil.Process(triton.pid), *psutil.Process(triton.pid).children(recursive=True)]
        taken = sum(anonymous_bytes(process.pid) for process in processes)
    estimate = facts["precisions"][0]["memory_bytes"]
    assert 0.6 < estimate / taken < 1.6
