"""Rerankers: the same decoder with a head of two rows, told from the checkpoint."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from qwen3_export import ExportError, export
from support.checkpoints import Shape, make_checkpoint
from support.oracle import random_texts, reference_logits
from support.packed import PackedSession
from tritonclient.grpc.model_config_pb2 import ModelConfig

LENGTHS = [1, 2, 7, 7, 33, 100, 257, 300]
YES, NO = 258, 259  # of the byte tokenizer


@pytest.mark.parametrize("shape", [Shape(), Shape(tied=False), Shape(dtype="float32", tied=False)], ids=str)
def test_logits_match_the_causal_model(tmp_path: Path, shape: Shape) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", shape)
    session = PackedSession(export(str(checkpoint), repository=tmp_path, kind="reranker").directory)
    prompts = random_texts(LENGTHS)
    reference = reference_logits(checkpoint, prompts, yes=YES, no=NO)
    for batch in (slice(None), slice(2, 4), slice(0, 1)):
        results = session.run(prompts[batch])
        assert np.abs(results["logit"][:, 0] - reference[batch]).max() <= 1e-4
        np.testing.assert_allclose(results["score"][:, 0], 1 / (1 + np.exp(-reference[batch])), atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_pair_equals_itself_in_any_batch(tmp_path: Path, precision: str) -> None:
    directory = export("tiny", repository=tmp_path, kind="reranker", precision=precision).directory  # type: ignore[arg-type]
    session = PackedSession(directory)
    prompts = random_texts(LENGTHS)
    together = session.run(prompts)
    for i, prompt in enumerate(prompts):
        for name, rows in session.run([prompt]).items():
            np.testing.assert_array_equal(rows[0], together[name][i])


def test_no_logit_but_two_is_ever_computed(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", Shape(tied=False))
    directory = export(str(checkpoint), repository=tmp_path, kind="reranker").directory
    model = onnx.load(str(directory / "1" / "model.onnx"), load_external_data=False)
    onnx.checker.check_model(str(directory / "1" / "model.onnx"), full_check=True)
    wide = [t.name for t in model.graph.initializer if 260 in t.dims]
    assert wide == ["model.embed_tokens"], "the only tensor as wide as the vocabulary is the embedding table"
    config = text_format.Parse((directory / "config.pbtxt").read_text(), ModelConfig())
    outputs = [(output.name, list(output.dims)) for output in config.output]
    assert outputs == [("score", [1]), ("logit", [1]), ("fingerprint", [1])]
    assert json.loads((directory / "manifest.json").read_text())["kind"] == "reranker"


MODULES = """[
  {"type": "sentence_transformers.models.Transformer", "path": ""},
  {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}
]"""


@pytest.mark.parametrize(
    ("file", "content", "kind", "reason"),
    [
        (None, "", "embedding", "the default"),
        ("modules.json", MODULES, "embedding", "pooling module"),
        ("config_sentence_transformers.json", '{"model_type": "CrossEncoder"}', "reranker", "cross-encoder"),
    ],
)
def test_the_kind_comes_from_the_checkpoint(
    tmp_path: Path, file: str | None, content: str, kind: str, reason: str
) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", Shape())
    (checkpoint / "1_Pooling").mkdir()
    (checkpoint / "1_Pooling" / "config.json").write_text('{"pooling_mode": "lasttoken"}')
    if file is not None:
        (checkpoint / file).write_text(content)
    exported = export(str(checkpoint), repository=tmp_path / "repository")
    assert exported.kind.kind == kind
    assert reason in exported.kind.reason
    assert exported.directory.name == f"qwen3_{kind}"


def test_the_kind_comes_from_the_name_and_the_option_wins(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "Qwen3-Reranker-0.1B", Shape())
    by_name = export(str(checkpoint), repository=tmp_path / "repository")
    assert (by_name.kind.kind, by_name.kind.reason) == ("reranker", "from the name Qwen3-Reranker-0.1B")
    asked = export(str(checkpoint), repository=tmp_path / "repository", kind="embedding")
    assert asked.directory.name == "qwen3_embedding"


def test_a_reranker_without_its_words_is_refused(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", Shape())
    tokenizer = json.loads((checkpoint / "tokenizer.json").read_text())
    tokenizer["model"]["merges"] = []
    (checkpoint / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(ExportError, match='no token "yes"'):
        export(str(checkpoint), repository=tmp_path / "repository", kind="reranker")
