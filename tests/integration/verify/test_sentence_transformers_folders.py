"""``verify`` compares with sentence-transformers where it saved the folder: what it would not say is found."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from qwen3_export import ExportError, export
from qwen3_export.checkpoint.modules import Modules, read_modules
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from support.checkpoints import Shape, make_checkpoint
from support.cross_encoders import write_tokenizer
from support.sentence_transformers_folders import change_json, make_folder
from torch import nn

Run = Callable[..., Any]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("normalize", [True, False], ids=["normalised", "not normalised"])
def test_a_right_export_passes(tmp_path: Path, run: Run, precision: Any, *, normalize: bool) -> None:  # noqa: ANN401
    folder = make_folder(
        tmp_path / "model", pooling="mean", dense=[(96, nn.Tanh(), True)], normalize=normalize, is_causal=False
    )
    export(str(folder), repository=tmp_path / "repository", precision=precision)
    done = run(tmp_path / "repository", "--max-tokens", "128")
    assert (done.code, done.err) == (0, ""), done.out
    assert f"compared with sentence-transformers on {folder} in float32" in done.out


def test_the_other_name_of_full_attention_passes(tmp_path: Path, run: Run) -> None:
    folder = make_folder(tmp_path / "model", pooling="mean", use_bidirectional_attention=True)
    export(str(folder), repository=tmp_path / "repository")
    assert run(tmp_path / "repository", "--max-tokens", "128").code == 0


def test_texts_are_as_long_as_the_library_lets_them_be(tmp_path: Path, run: Run) -> None:
    folder = make_folder(tmp_path / "model")
    change_json(folder / "tokenizer_config.json", model_max_length=100)
    export(str(folder), repository=tmp_path / "repository")
    done = run(tmp_path / "repository")
    assert done.code == 0, done.out
    assert "length 100" in done.out
    assert "length 256" not in done.out


@pytest.mark.parametrize(
    ("mistake", "fault"),
    [
        ({"pooling": "lasttoken"}, r"cosine -?0\.\d+ is below"),
        ({"pooling": "cls"}, r"cosine -?0\.\d+ is below"),
        ({"is_normalized": True}, r"its norm is 1\.000000 instead of"),
        ({"is_causal": True}, r"cosine -?0\.\d+ is below"),
    ],
    ids=str,
)
def test_a_mistake_of_the_exporter_fails(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, mistake: dict[str, Any], fault: str
) -> None:
    folder = make_folder(tmp_path / "model", pooling="mean", normalize=False, is_causal=False)
    wrong = {key: value for key, value in mistake.items() if key != "is_causal"}
    modules = read_modules(folder, hidden=64)
    assert modules == Modules("mean", (), is_normalized=False)
    with monkeypatch.context() as context:
        context.setattr(
            "qwen3_export.checkpoint.checkpoint.read_modules",
            lambda *_args, **_options: Modules(
                wrong.get("pooling", "mean"), (), is_normalized=wrong.get("is_normalized", False)
            ),
        )
        if "is_causal" in mistake:
            context.setattr("qwen3_export.checkpoint.geometry._is_causal", lambda _config: True)
        export(str(folder), repository=tmp_path / "repository")
    done = run(tmp_path / "repository", "--max-tokens", "64")
    assert done.code == 1
    assert re.search(fault, done.out), done.out


def test_other_prompts_and_another_limit_fail(tmp_path: Path, run: Run) -> None:
    folder = make_folder(tmp_path / "model", pooling="mean")
    change_json(folder / "config_sentence_transformers.json", prompts={"query": "Q: ", "document": "D: "})
    export(str(folder), repository=tmp_path / "repository")
    assert run(tmp_path / "repository", "--max-tokens", "64").code == 0
    change_json(folder / "config_sentence_transformers.json", prompts={"query": "R: "})
    change_json(folder / "tokenizer_config.json", model_max_length=100)
    done = run(tmp_path / "repository", "--max-tokens", "64")
    assert done.code == 1
    assert "the model puts 'Q: ' before a query, and sentence-transformers 'R: '" in done.out
    assert "the model puts 'D: ' before a document, and sentence-transformers ''" in done.out
    assert "the model takes 2048 tokens, and sentence-transformers 100" in done.out


@pytest.mark.parametrize("written", ["saved by sentence-transformers", "by hand"])
def test_texts_in_a_chat_template_are_refused_and_fail(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    base = make_checkpoint(tmp_path / "base", Shape())
    write_tokenizer(base, template="{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% endfor %}")
    folder = tmp_path / "model"
    if written == "by hand":
        make_folder(folder)
        forward = {"method": "forward", "method_output_name": "last_hidden_state"}
        write_tokenizer(folder, template=(base / "chat_template.jinja").read_text("utf-8"))
        modalities = {"text": forward, "message": {**forward, "format": "flat"}}
        change_json(folder / "sentence_bert_config.json", modality_config=modalities)
    else:
        modules: list[nn.Module] = [Transformer(str(base)), Pooling(64, "lasttoken"), Normalize()]
        SentenceTransformer(modules=modules).save_pretrained(str(folder), create_model_card=False)
    with pytest.raises(ExportError, match=r"modality_config\.message, with which .* trained on plain texts"):
        export(str(folder), repository=tmp_path / "repository")
    with monkeypatch.context() as context:
        context.setattr("qwen3_export.checkpoint.sentence_config._check_modality", lambda *_: None)
        export(str(folder), repository=tmp_path / "repository")
    done = run(tmp_path / "repository", "--max-tokens", "64")
    assert done.code == 1
    assert "sentence-transformers reads other token ids" in done.out
    assert "begins '<|im_start|>user" in done.out


def test_texts_that_are_cut_at_the_beginning_fail(tmp_path: Path, run: Run) -> None:
    folder = make_folder(tmp_path / "model")
    export(str(folder), repository=tmp_path / "repository")
    change_json(folder / "tokenizer_config.json", truncation_side="left")
    done = run(tmp_path / "repository", "--max-tokens", "64")
    assert done.code == 1
    assert "reads other token ids for 'a text that is too long' as a query" in done.out


def test_a_tensor_that_the_library_does_not_use_fails(tmp_path: Path, run: Run) -> None:
    folder = make_folder(tmp_path / "model")
    export(str(folder), repository=tmp_path / "repository")
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    tensors["linear.weight"] = np.zeros((8, 64), np.float32)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    done = run(tmp_path / "repository", "--max-tokens", "64")
    assert done.code == 1
    assert "holds 1 tensors that sentence-transformers does not use, linear.weight among them" in done.err


def test_a_dropped_dense_layer_fails(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the hidden size, so that no shape tells."""
    folder = make_folder(tmp_path / "model", dense=[(64, nn.Tanh(), True)])
    with monkeypatch.context() as context:
        context.setattr("qwen3_export.checkpoint.checkpoint.read_modules", lambda *_args, **_options: Modules())
        export(str(folder), repository=tmp_path / "repository")
    done = run(tmp_path / "repository", "--max-tokens", "64")
    assert done.code == 1
    assert "is below 0.999999" in done.out
