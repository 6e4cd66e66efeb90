"""What an export leaves behind: a complete directory, or nothing."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from qwen3_export import ExportError, export
from qwen3_export.cpu import RAGGED
from qwen3_export.kind import Kind
from qwen3_export.precision import FOR_CUDA, PRECISIONS, Precision
from qwen3_serve.host.packed_engine import PackedEngine, Settings
from support.oracle import random_texts
from support.random_checkpoints import make_random_checkpoint
from tritonclient.grpc.model_config_pb2 import ModelConfig

ON_CPU = [precision for precision in PRECISIONS if precision not in FOR_CUDA]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export("tiny", repository=tmp_path_factory.mktemp("repository")).directory


def test_the_directory_is_complete(exported: Path) -> None:
    files = {path.relative_to(exported).as_posix() for path in exported.rglob("*") if path.is_file()}
    assert files == {
        "config.pbtxt",
        "configs/embedded.pbtxt",
        "1/model.onnx",
        "1/model.onnx.data",
        "1/model.py",
        "1/ragged.onnx",
        "tokenizer.json",
        "manifest.json",
    }
    assert not any(path.is_symlink() for path in exported.rglob("*"))


def test_the_manifest_names_the_source_and_hashes_every_file(exported: Path) -> None:
    manifest = json.loads((exported / "manifest.json").read_text())
    assert (manifest["source"], manifest["revision"], manifest["precision"]) == ("tiny", "", "fp32")
    assert manifest["versions"]["onnx"] == onnx.__version__
    on_disk = {p.relative_to(exported).as_posix() for p in exported.rglob("*") if p.is_file()} - {"manifest.json"}
    assert set(manifest["files"]) == on_disk
    for name, entry in manifest["files"].items():
        content = (exported / name).read_bytes()
        assert entry == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


@pytest.mark.parametrize("config", ["config.pbtxt", "configs/embedded.pbtxt"])
def test_the_configs_describe_the_model(exported: Path, config: str) -> None:
    text = (exported / config).read_text()
    parsed = text_format.Parse(text, ModelConfig())
    parameters = {key: value.string_value for key, value in parsed.parameters.items()}
    assert parameters["model_family"] == "Qwen3-Embedding"
    assert parameters["model_size"] == "tiny"
    assert parameters["dimensions"] == "64"
    assert parameters["max_tokens"] == "2048"
    assert parameters["eos_token_id"] == "256"  # noqa: S105
    assert parameters["tokenizer"] == str(exported)
    assert parameters["tokenizer_sha256"] == hashlib.sha256((exported / "tokenizer.json").read_bytes()).hexdigest()
    assert list(parsed.output[0].dims) == [64]
    assert text.count("# ") > 5, "the operator's comments are kept"


def test_two_exports_are_the_same_bytes(exported: Path, tmp_path: Path) -> None:
    again = export("tiny", repository=tmp_path).directory
    for file in ("1/model.onnx", "1/model.onnx.data", "1/ragged.onnx", "tokenizer.json"):
        assert (again / file).read_bytes() == (exported / file).read_bytes()


def test_the_graph_passes_the_checker_and_names_no_local_path(exported: Path) -> None:
    path = exported / "1" / "model.onnx"
    onnx.checker.check_model(str(path), full_check=True)
    assert str(exported).encode() not in path.read_bytes()
    assert os.fsencode(Path.home()) + b"/" not in path.read_bytes()


def test_bfloat16_embeddings_stay_bfloat16(exported: Path) -> None:
    model = onnx.load(str(exported / "1" / "model.onnx"), load_external_data=False)
    table = next(t for t in model.graph.initializer if t.name.endswith("embed_tokens"))
    assert table.data_type == onnx.TensorProto.BFLOAT16


@pytest.mark.parametrize("kind", ["embedding", "reranker"])
@pytest.mark.parametrize("precision", ON_CPU)
def test_all_graphs_have_the_same_weights_in_one_file(tmp_path: Path, precision: Precision, kind: Kind) -> None:
    folder = export("tiny", repository=tmp_path, precision=precision, kind=kind).directory / "1"
    portable, *others = (stored(folder / name) for name in sorted(path.name for path in folder.glob("*.onnx")))
    assert len(portable) > 10
    assert len(others) == (2 if precision == "int8" else 1)
    assert all(other == portable for other in others)


def stored(path: Path) -> dict[str, dict[str, str]]:
    """Where the weights of a graph are that are not in its own file, and what their types are."""
    tensors = onnx.load(str(path), load_external_data=False).graph.initializer
    return {
        tensor.name: {entry.key: entry.value for entry in tensor.external_data} | {"type": str(tensor.data_type)}
        for tensor in tensors
        if tensor.external_data
    }


def test_a_model_that_the_operator_does_not_take_has_one_graph(tmp_path: Path) -> None:
    """Forty-nine heads of queries for one of keys are one more than it takes."""
    for heads in (48, 49):
        sizes = {"num_attention_heads": heads, "num_key_value_heads": 1, "head_dim": 16}
        folder = make_random_checkpoint(tmp_path / f"{heads}", **sizes)
        version = export(str(folder), repository=tmp_path, name=f"model{heads}").directory / "1"
        assert (version / RAGGED).is_file() == (heads == 48)
        engine = PackedEngine(version / "model.onnx", Settings(512, 1.25, 0), threads=1)
        assert engine.attention.startswith("ragged" if heads == 48 else "ONNX Runtime's, because ")
        assert np.isfinite(engine.run(random_texts([1, 30]))[0]).all()


def test_an_exported_model_is_not_replaced_unasked(tmp_path: Path) -> None:
    export("tiny", repository=tmp_path)
    with pytest.raises(ExportError, match="--force replaces it"):
        export("tiny", repository=tmp_path, precision="int8")
    export("tiny", repository=tmp_path, precision="int8", force=True)
    assert json.loads((tmp_path / "qwen3_embedding" / "manifest.json").read_text())["precision"] == "int8"
    assert [path.name for path in tmp_path.iterdir()] == ["qwen3_embedding"], "no scratch is left"


def test_a_failed_export_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = export("tiny", repository=tmp_path).directory
    before = (directory / "manifest.json").read_bytes()

    def fail(*_args: Any, **_kwargs: Any) -> None:  # noqa: ANN401
        raise OSError("disk full")

    monkeypatch.setattr("qwen3_export.packed_directory.write_manifest", fail)
    with pytest.raises(OSError, match="disk full"):
        export("tiny", repository=tmp_path, precision="int8", force=True)
    assert (directory / "manifest.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["qwen3_embedding"]


def test_progress_ends_at_the_total(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    export("tiny", repository=tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_missing_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"no folder .*nowhere"):
        export(str(tmp_path / "nowhere"), repository=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "llama"}, "model_type = 'llama'"),
        ({"attention_bias": True}, "attention_bias = True"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 4.0}}, "'linear' rope scaling"),
        ({"head_dim": 16}, "q_proj"),
        ({"num_hidden_layers": 3}, "no tensor layers.2"),
        ({"vocab_size": 300}, "embed_tokens"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
    ],
)
def test_a_config_that_is_not_this_family(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    checkpoint = make_random_checkpoint(tmp_path / "checkpoint")
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ExportError, match=message):
        export(str(checkpoint), repository=tmp_path / "repository")
    assert not (tmp_path / "repository" / "qwen3_embedding").exists()


def test_damaged_checkpoints(tmp_path: Path) -> None:
    checkpoint = make_random_checkpoint(tmp_path / "checkpoint")
    shard = sorted(checkpoint.glob("model-*.safetensors"))[-1]
    content = shard.read_bytes()
    for damage, message in (
        (content[:-10], "cut short"),
        (content[:4], "not a safetensors"),
        (None, "missing"),
    ):
        shard.unlink()
        if damage is not None:
            shard.write_bytes(damage)
        with pytest.raises(ExportError, match=message):
            export(str(checkpoint), repository=tmp_path / "repository")
        if damage is None:
            shard.touch()


def test_a_tokenizer_that_appends_nothing_is_refused(tmp_path: Path) -> None:
    checkpoint = make_random_checkpoint(tmp_path / "checkpoint")
    tokenizer = json.loads((checkpoint / "tokenizer.json").read_text())
    tokenizer["post_processor"] = None
    (checkpoint / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(ExportError, match="does not append one end token"):
        export(str(checkpoint), repository=tmp_path / "repository")
    (checkpoint / "tokenizer.json").unlink()
    with pytest.raises(ExportError, match=r"no tokenizer\.json"):
        export(str(checkpoint), repository=tmp_path / "repository")


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    checkpoint = make_random_checkpoint(tmp_path / "checkpoint")
    content = (checkpoint / "tokenizer.json").read_text()
    # One token more than the model has rows is no harm while it is not needed ...
    tokenizer = json.loads(content)
    tokenizer["added_tokens"].append(tokenizer["added_tokens"][0] | {"id": 260, "content": "<more>"})
    (checkpoint / "tokenizer.json").write_text(json.dumps(tokenizer))
    export(str(checkpoint), repository=tmp_path / "repository")
    # ... but the end token must have a row.
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config | {"vocab_size": 256}))
    with pytest.raises(ExportError, match=r"token 256.*do not belong together"):
        export(str(checkpoint), repository=tmp_path / "repository", force=True)


def test_another_pooling_is_refused(tmp_path: Path) -> None:
    checkpoint = make_random_checkpoint(tmp_path / "checkpoint")
    (checkpoint / "1_Pooling").mkdir()
    (checkpoint / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    with pytest.raises(ExportError, match="last-token"):
        export(str(checkpoint), repository=tmp_path / "repository")


def test_int8_weights_are_a_quarter(tmp_path: Path) -> None:
    checkpoint = make_random_checkpoint(
        tmp_path / "checkpoint", hidden_size=256, num_hidden_layers=4, intermediate_size=1024
    )
    sizes = {
        precision: export(str(checkpoint), repository=tmp_path, name=precision, precision=precision).bytes
        for precision in ("fp32", "int8")
    }
    assert sizes["int8"] < 0.35 * sizes["fp32"]


def test_rotary_tables_reach_max_tokens(exported: Path) -> None:
    model = onnx.load(str(exported / "1" / "model.onnx"))
    tables = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer if "rotary" in t.name}
    assert {table.shape for table in tables.values()} == {(2049, 16)}
    cosine = next(table for name, table in tables.items() if name.endswith("cos"))
    np.testing.assert_allclose(cosine[5, 3], np.cos(5 * 1e6 ** (-6 / 32)), rtol=1e-6)
