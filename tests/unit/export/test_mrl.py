"""The sizes to which vectors may be cut: what a checkpoint says, what the user says, and what clients are told."""

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from qwen3_export import ExportError, export
from qwen3_export.checkpoint.checkpoint import read_checkpoint
from qwen3_export.checkpoint.mrl import Mrl
from qwen3_export.checkpoint.trained_sizes import read_mrl
from support.random_checkpoints import make_random_checkpoint
from tritonclient.grpc.model_config_pb2 import ModelConfig

CARD = """---
tags:
- sentence-transformers
{losses}
---

# A model

* Loss: [<code>MatryoshkaLoss</code>](https://sbert.net) with these parameters:
  ```json
  {{
      "loss": "MultipleNegativesRankingLoss",
      "matryoshka_dims": [
          64,
          48,
          32,
          16
      ],
      "n_dims_per_step": -1
  }}
  ```
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_random_checkpoint(tmp_path / "model", num_hidden_layers=1)


def change_config(folder: Path, **keys: Any) -> None:  # noqa: ANN401
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def mrl_of(folder: Path, asked: str | None = None, *, source: str = "") -> Mrl:
    return read_mrl(read_checkpoint(folder, source=source or str(folder)), asked=asked)


def parameter(model: Path) -> str | None:
    config = text_format.Parse((model / "config.pbtxt").read_text(), ModelConfig())
    return config.parameters["mrl_dimensions"].string_value if "mrl_dimensions" in config.parameters else None


@pytest.mark.parametrize(
    ("keys", "sizes"),
    [
        ({"is_matryoshka": True}, "32-64"),
        ({"is_matryoshka": False}, "fixed"),
        ({"is_matryoshka": True, "matryoshka_dimensions": [64, 32, 48]}, "32,48,64"),
        ({"matryoshka_dimensions": [32]}, "32,64"),
        ({"matryoshka_dimensions": [16, 64]}, "fixed"),
    ],
    ids=str,
)
def test_config_json_says_it(folder: Path, keys: dict[str, Any], sizes: str) -> None:
    change_config(folder, **keys)
    mrl = mrl_of(folder)
    assert (mrl.sizes, mrl.is_assumed, mrl.note()) == (sizes, False, None)
    assert mrl.reason.startswith("config.json has ")


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([128], "but the model.s vectors, after its last module, have 64 numbers; .*--dimensions"),
        (["32"], "not a list of positive whole numbers"),
        (32, "not a list of positive whole numbers"),
        ([0], "not a list of positive whole numbers"),
    ],
    ids=str,
)
def test_sizes_that_the_model_does_not_have_are_refused(folder: Path, sizes: object, message: str) -> None:
    change_config(folder, matryoshka_dimensions=sizes)
    with pytest.raises(ExportError, match=f"matryoshka_dimensions = .* {message}"):
        mrl_of(folder)


@pytest.mark.parametrize(
    ("losses", "sizes", "reason"),
    [
        ("- loss:MatryoshkaLoss\n- loss:MultipleNegativesRankingLoss", "32,48,64", "README.md names the sizes"),
        ("- loss:MultipleNegativesRankingLoss", "fixed", "trained with MultipleNegativesRankingLoss"),
        ("- feature-extraction", "32-64", "assumed, as in Qwen3-Embedding"),
    ],
)
def test_the_model_card_of_a_training_says_it(folder: Path, losses: str, sizes: str, reason: str) -> None:
    (folder / "README.md").write_text(CARD.format(losses=losses))
    mrl = mrl_of(folder)
    assert mrl.sizes == sizes
    assert reason in mrl.reason


def test_what_nothing_says_is_an_assumption_that_the_user_is_told(folder: Path) -> None:
    plain = mrl_of(folder)
    assert (plain.sizes, plain.is_assumed) == ("32-64", True)
    assert "32-64 as in Qwen3-Embedding is assumed" in (plain.note() or "")
    change_config(folder, is_causal=False)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "mean", "embedding_dimension": 64}))
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    (folder / "modules.json").write_text(
        json.dumps(
            [
                {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
                for index, (path, kind) in enumerate(modules)
            ]
        )
    )
    other = mrl_of(folder)
    assert (other.sizes, other.is_assumed) == ("fixed", True)
    assert "clients refuse `dimensions`" in (other.note() or "")
    exported = export(str(folder), repository=folder / "repository")
    assert exported.notes == (other.note(),)
    assert parameter(exported.directory) == "fixed"


def test_the_published_models_may_be_cut_as_their_cards_say(folder: Path) -> None:
    assert mrl_of(folder, source="Qwen/Qwen3-Embedding-0.6B") == Mrl("32-64", "as published")


@pytest.mark.parametrize(
    ("asked", "sizes"),
    [
        ("fixed", "fixed"),
        ("32-64", "32-64"),
        ("40-48", "40-48"),
        ("48,32", "32,48,64"),
        ("64", "fixed"),
        ("32", "32,64"),
    ],
)
def test_the_user_has_the_last_word(folder: Path, asked: str, sizes: str) -> None:
    change_config(folder, is_matryoshka=False)
    assert mrl_of(folder, asked) == Mrl(sizes, "from --dimensions")


@pytest.mark.parametrize("asked", ["", "all", "32-", "1,,2", "16-64", "32-65", "64-32", "128", "-64"])
def test_other_wishes_are_refused(folder: Path, asked: str) -> None:
    with pytest.raises(ExportError, match=r"--dimensions .* (is not understood; give|can have 32 to 64)"):
        mrl_of(folder, asked)


def test_clients_are_told_unless_it_is_what_they_take_without_it(folder: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    assert parameter(export(str(folder), repository=repository, name="plain").directory) is None
    assert parameter(export(str(folder), repository=repository, name="few", dimensions="48").directory) == "48,64"
    with pytest.raises(ExportError, match="its mrl_dimensions is None, but that of the existing versions is '48,64'"):
        export(str(folder), repository=repository, name="few", version=2)


def test_a_reranker_has_no_sizes(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="--dimensions is for embedding models"):
        export("tiny", repository=tmp_path, kind="reranker", dimensions="fixed")
