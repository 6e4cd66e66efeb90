"""One more version in a model directory: what it takes along, and what it refuses."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from qwen3_export import ExportError, export
from qwen3_export.model_directory.versions import exported_versions
from qwen3_export.verify.files import check_files
from qwen3_export.verify.model_directory import read_model
from qwen3_serve import ServeError
from qwen3_serve.triton.integrity import check_integrity
from support.random_checkpoints import make_random_checkpoint
from tritonclient.grpc.model_config_pb2 import ModelConfig

TUNED = "max_batch_size: 8"


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_random_checkpoint(tmp_path_factory.mktemp("other"), seed=3))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Version 1, with a configuration that its operator tuned."""
    directory = export("tiny", repository=tmp_path).directory
    for config in (directory / "config.pbtxt", directory / "configs" / "embedded.pbtxt"):
        config.write_text(re.sub(r"max_batch_size: \d+", TUNED, config.read_text()))
    return directory


def content(model: Path) -> dict[str, bytes]:
    return {path.relative_to(model).as_posix(): path.read_bytes() for path in model.rglob("*") if path.is_file()}


def test_it_lies_beside_the_others_and_every_check_passes(model: Path, other: str) -> None:
    before = content(model)
    exported = export(other, repository=model.parent, kind="embedding", precision="int8", version=2)
    assert (exported.directory, exported.version) == (model, 2)
    after = content(model)
    files = ("model.onnx", "model.onnx.data", "model.py", "ragged.onnx", "ragged_vnni.onnx")
    assert {name for name in after if name not in before} == {f"2/{file}" for file in files}
    assert {name for name in before if after[name] != before[name]} == {
        "config.pbtxt",
        "configs/embedded.pbtxt",
        "manifest.json",
    }
    for name in ("config.pbtxt", "configs/embedded.pbtxt"):
        text = after[name].decode()
        assert TUNED in text, "the operator's part stays"
        assert text.split("# ---- Below")[0] == before[name].decode().split("# ---- Below")[0]
        parameters = text_format.Parse(text, ModelConfig()).parameters
        assert parameters["source"].string_value == other
        assert parameters["precision"].string_value == "int8"
    assert json.loads(after["manifest.json"])["model_version"] == 2
    check_integrity(model, "full")
    assert check_files(read_model(model)).passed
    assert read_model(model).graph == model / "2" / "model.onnx"
    assert [path.name for path in model.parent.iterdir()] == [model.name], "no scratch is left"


def test_an_old_version_may_be_deleted_and_the_newest_may_not(model: Path, other: str) -> None:
    export(other, repository=model.parent, kind="embedding", version=2)
    (model / "1" / "model.py").unlink()
    with pytest.raises(ServeError, match=r"1/model\.py is missing"):
        check_integrity(model, "quick")
    assert list(check_files(read_model(model)).faults) == ["1/model.py: missing"]
    shutil.rmtree(model / "1")
    check_integrity(model, "full")
    assert check_files(read_model(model)).passed
    export("tiny", repository=model.parent, version=3)
    assert {name.split("/")[0] for name in json.loads((model / "manifest.json").read_text())["files"]} >= {"2", "3"}
    assert not any(name.startswith("1/") for name in json.loads((model / "manifest.json").read_text())["files"])
    shutil.rmtree(model / "3")
    with pytest.raises(ServeError, match=r"3/model\.onnx is missing"):
        check_integrity(model, "quick")
    assert not check_files(read_model(model)).passed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"version": 1}, "already has version 1; --version 2 adds the next one, and --force replaces version 1"),
        ({"version": 0}, "--version must be at least 1"),
        ({"version": -1}, "--version must be at least 1"),
        ({"version": 2, "name": "nowhere"}, "no exported model to add version 2 to; leave out --version"),
        ({"version": 2, "kind": "reranker", "name": "qwen3_embedding"}, "its model_family is 'Qwen3-Reranker'"),
        (
            {"version": 2, "device": "cuda"},
            "its device is 'cuda', but that of the existing versions is 'cpu'; export it under another name",
        ),
    ],
)
def test_what_cannot_be_a_version_is_refused(model: Path, options: dict[str, Any], message: str) -> None:
    before = content(model)
    with pytest.raises(ExportError, match=message):
        export("tiny", repository=model.parent, **options)
    assert content(model) == before
    assert [path.name for path in model.parent.iterdir()] == [model.name]


def test_vectors_of_another_size_or_ids_of_another_tokenizer_are_refused(model: Path, tmp_path_factory: Any) -> None:  # noqa: ANN401
    wide = make_random_checkpoint(tmp_path_factory.mktemp("wide"), hidden_size=96)
    with pytest.raises(ExportError, match="its dimensions is '96', but that of the existing versions is '64'"):
        export(str(wide), repository=model.parent, kind="embedding", version=2)
    foreign = make_random_checkpoint(tmp_path_factory.mktemp("foreign"))
    tokenizer = foreign / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")
    with pytest.raises(ExportError, match="its tokenizer_sha256 is"):
        export(str(foreign), repository=model.parent, kind="embedding", version=2)


def test_one_version_of_several_is_replaced(model: Path, other: str) -> None:
    export(other, repository=model.parent, kind="embedding", version=2)
    before = content(model)
    export("tiny", repository=model.parent, version=2, force=True)
    after = content(model)
    assert after["2/model.onnx.data"] == before["1/model.onnx.data"] == after["1/model.onnx.data"]
    assert after["2/model.onnx.data"] != before["2/model.onnx.data"]
    check_integrity(model, "full")
    export(other, repository=model.parent, kind="embedding", force=True)
    assert not (model / "2").exists(), "without a version it replaces the whole model"
    check_integrity(model, "full")


def test_a_version_that_fails_leaves_what_was_there(model: Path, other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(model)

    def fail(*_args: Any, **_kwargs: Any) -> None:  # noqa: ANN401
        raise OSError("disk full")

    monkeypatch.setattr("qwen3_export.packed_directory.write_model", fail)
    with pytest.raises(OSError, match="disk full"):
        export(other, repository=model.parent, kind="embedding", version=2)
    assert content(model) == before
    assert [path.name for path in model.parent.iterdir()] == [model.name]


def test_versions_are_folders_with_a_graph(tmp_path: Path) -> None:
    for name in ("10", "9", "x", "3"):
        (tmp_path / name).mkdir()
    for name in ("10", "9", "x"):
        (tmp_path / name / "model.onnx").touch()
    assert exported_versions(tmp_path) == [9, 10]
    assert exported_versions(tmp_path / "absent") == []
