"""`verify` compares rerankers that have a head of their own with that head."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from qwen3_export import export
from qwen3_export.checkpoint.stored_tensor import read_index
from support.checkpoints import Shape, make_checkpoint
from support.cross_encoders import TEMPLATE, edit_json, make_classifier, save_cross_encoder, save_logit_score

Run = Callable[..., Any]


@pytest.mark.parametrize("labels", [1, 2])
def test_a_classification_head_passes(tmp_path: Path, run: Run, labels: int) -> None:
    names: dict[str, Any] = {} if labels == 1 else {"id2label": {0: "yes", 1: "no"}, "label2id": {"yes": 0, "no": 1}}
    folder = make_classifier(tmp_path / "model", labels=labels, **names)
    export(str(folder), repository=tmp_path / "repository")
    done = run(tmp_path / "repository", "--max-tokens", "512")
    assert (done.code, done.err) == (0, ""), done.out


def test_a_cross_encoder_of_sentence_transformers_passes(tmp_path: Path, run: Run) -> None:
    folder = save_cross_encoder(tmp_path)
    export(str(folder), repository=tmp_path / "repository")
    done = run(tmp_path / "repository", "--max-tokens", "512")
    assert (done.code, done.err) == (0, ""), done.out


@pytest.mark.parametrize("tokens", [{}, {"true_token_id": 30, "false_token_id": None}], ids=["two", "one"])
def test_tokens_of_its_own_pass(tmp_path: Path, run: Run, tokens: dict[str, int | None]) -> None:
    folder = save_logit_score(tmp_path, template=TEMPLATE, **tokens)
    export(str(folder), repository=tmp_path / "repository")
    done = run(tmp_path / "repository", "--max-tokens", "512")
    assert (done.code, done.err) == (0, ""), done.out


def test_another_prompt_template_passes_and_a_wrong_one_fails(tmp_path: Path, run: Run) -> None:
    template = (
        "{% for m in messages %}{% if m.role in ('query', 'document') %}[{{ m.role }}: {{ m.content }}]"
        "{% endif %}{% endfor %}?"
    )
    folder = save_cross_encoder(tmp_path, template=template)
    config = export(str(folder), repository=tmp_path / "repository").directory / "config.pbtxt"
    done = run(tmp_path / "repository", "--max-tokens", "512")
    assert (done.code, done.err) == (0, ""), done.out
    text = config.read_text("utf-8")
    assert "[query: {query}][document: {document}]?" in text
    config.write_text(text.replace("[query: {query}]", "[query:{query}]"), "utf-8")
    done = run(tmp_path / "repository", "--max-tokens", "512", "--tuned-configs")
    assert done.code == 1
    assert "prompt_template in config.pbtxt makes" in done.out


def test_a_template_that_changes_letters_fails(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    template = "{% for m in messages if m.role in ('query', 'document') %}[{{ m.content | lower }}]{% endfor %}"
    folder = save_cross_encoder(tmp_path, template=template)
    with monkeypatch.context() as context:
        context.setattr("qwen3_export.checkpoint.chat_template._PROBES", ("a",))
        export(str(folder), repository=tmp_path / "repository")
    done = run(tmp_path / "repository", "--max-tokens", "64")
    assert done.code == 1
    assert "chat template '[which planet is red?" in done.out


def test_a_template_that_the_library_does_not_render_fails(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_cross_encoder(tmp_path)
    forward = {"method": "forward", "method_output_name": "logits"}
    edit_json(folder / "sentence_bert_config.json", modality_config={"text": forward})
    with monkeypatch.context() as context:
        context.setattr("qwen3_export.checkpoint.chat_template.reads_messages", lambda _: True)
        export(str(folder), repository=tmp_path / "repository")
    done = run(tmp_path / "repository", "--max-tokens", "64")
    assert done.code == 1
    assert "sentence-transformers the tokens of 'Which Planet is red?" in done.out


def test_pairs_that_the_library_joins_with_tokens_pass(tmp_path: Path, run: Run) -> None:
    folder = save_cross_encoder(tmp_path, template=None)
    tokenizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    sequence, end = (
        [{"Sequence": {"id": name, "type_id": 0}} for name in "AB"],
        {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}},
    )
    tokenizer["post_processor"]["pair"] = [sequence[0], end, sequence[1]]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    export(str(folder), repository=tmp_path / "repository")
    done = run(tmp_path / "repository", "--max-tokens", "64")
    assert (done.code, done.err) == (0, ""), done.out


def test_the_wrong_label_fails(tmp_path: Path, run: Run) -> None:
    names: dict[str, Any] = {"id2label": {0: "yes", 1: "no"}, "label2id": {"yes": 0, "no": 1}}
    folder = make_classifier(tmp_path / "model", labels=2, **names)
    export(str(folder), repository=tmp_path / "repository")
    edit_json(folder / "config.json", id2label={"0": "no", "1": "yes"}, label2id={"no": 0, "yes": 1})
    assert run(tmp_path / "repository", "--max-tokens", "512").code == 1


def test_the_wrong_token_fails(tmp_path: Path, run: Run) -> None:
    folder = save_logit_score(tmp_path)
    export(str(folder), repository=tmp_path / "repository")
    (where,) = [
        folder / module["path"]
        for module in json.loads((folder / "modules.json").read_text("utf-8"))
        if module["type"].endswith(".LogitScore")
    ]
    edit_json(where / "config.json", true_token_id=31)
    assert run(tmp_path / "repository", "--max-tokens", "512").code == 1


@pytest.mark.parametrize("index", [0, 1])
def test_labels_of_every_pair_pass(tmp_path: Path, run: Run, index: int) -> None:
    names = ["negative", "positive"][:: 1 if index else -1]
    folder = make_classifier(
        tmp_path / "model",
        labels=2,
        id2label=dict(enumerate(names)),
        label2id={name: i for i, name in enumerate(names)},
    )
    export(str(folder), repository=tmp_path / "repository")
    assert run(tmp_path / "repository", "--max-tokens", "512").code == 0


def test_tied_embeddings_in_place_of_the_stored_head_fail(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_checkpoint(tmp_path / "model", Shape(dtype="float32", tied=True))
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = np.random.default_rng(0).standard_normal((260, 64)).astype(np.float32)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    export(str(folder), repository=tmp_path / "repository", kind="reranker")
    assert run(tmp_path / "repository", "--max-tokens", "64").code == 0
    with monkeypatch.context() as context:
        context.setattr(
            "qwen3_export.checkpoint.checkpoint._read_tensors",
            lambda folder: {
                name.removeprefix("model."): stored
                for name, stored in read_index(folder / "model.safetensors").items()
                if name != "lm_head.weight"
            },
        )
        export(str(folder), repository=tmp_path / "repository", kind="reranker", force=True)
    done = run(tmp_path / "repository", "--max-tokens", "64")
    assert done.code == 1
    assert "logit" in done.out


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ("adapter", "holds an adapter beside its weights"),
        ("code", r"has Python code of its own \(auto_map\)"),
        ("bias", "holds 1 tensors that transformers does not use, layers.0.self_attn.q_proj.bias among them"),
        ("layer", "holds 1 tensors that transformers does not use, layers.2.mlp.up_proj.weight among them"),
        ("head", "holds 1 tensors that transformers does not use, score.weight among them"),
    ],
)
def test_what_the_library_leaves_out_fails(
    tmp_path: Path, run: Run, repository: Path, checkpoint: Path, change: str, fault: str
) -> None:
    """As if the exporter had ignored it: the model was exported from the same folder without it."""
    folder = shutil.copytree(checkpoint, tmp_path / "model")
    more = {"bias": "layers.0.self_attn.q_proj.bias", "layer": "layers.2.mlp.up_proj.weight", "head": "score.weight"}
    if change == "adapter":
        (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    elif change == "code":
        edit_json(folder / "config.json", auto_map={"AutoModel": "modeling.Model"})
    else:
        tensors = safetensors.numpy.load_file(folder / "model.safetensors")
        tensors[more[change]] = np.zeros((3, 64), np.float32)
        safetensors.numpy.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    done = run(repository, "--name", "qwen3_embedding", "--source", str(folder), "--max-tokens", "64")
    assert done.code == 1
    assert re.search(fault, done.err), done.err


def test_an_adapter_needs_the_merged_checkpoint(tmp_path: Path, run: Run, repository: Path) -> None:
    model = tmp_path / "repository" / "qwen3_embedding"
    shutil.copytree(repository / "qwen3_embedding", model)
    edit_json(model / "manifest.json", adapter="/adapters/mine")
    done = run(tmp_path / "repository")
    assert done.code == 1
    assert "merge it into the checkpoint with PEFT's merge_and_unload" in done.err
