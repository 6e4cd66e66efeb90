"""`qwen3-triton inspect`: what it says is what `export` then does, and it reads no weights."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qwen3_client.cli.main import main
from qwen3_export import ExportError, export
from qwen3_export.checkpoint.geometry import Geometry
from qwen3_export.checkpoint.random_checkpoint import published_config, shards, write_random_checkpoint
from qwen3_export.checkpoint.stored_tensor import StoredTensor
from qwen3_export.checkpoint.tiny import write_byte_tokenizer
from qwen3_export.kind import Kind
from qwen3_export.precision import FOR_CUDA, PRECISIONS, Precision
from support.random_checkpoints import make_random_checkpoint


def inspected(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    status = main(["inspect", *arguments, "--json"])
    return status, json.loads(capsys.readouterr().out)


def disk_bytes(found: dict[str, Any], device: str, precision: str) -> int:
    (entry,) = (each for each in found["precisions"] if (each["device"], each["precision"]) == (device, precision))
    size: int = entry["disk_bytes"]
    return size


def empty_weights(folder: Path) -> None:
    """Replace the weights by holes of the same size; the headers stay."""
    for path in folder.rglob("*.safetensors"):
        size = path.stat().st_size
        with path.open("rb+") as file:
            file.truncate(8 + int.from_bytes(file.read(8), "little"))
            file.truncate(size)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The true 0.6B shape with two layers, and with a vocabulary that keeps the table from hiding the rest."""
    folder = tmp_path_factory.mktemp("wide")
    write_random_checkpoint(folder, published_config("0.6B") | {"num_hidden_layers": 2, "vocab_size": 4000})
    write_byte_tokenizer(folder)
    return folder


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("source", ["tiny", "wide"])
def test_the_estimate_of_the_disk_is_what_an_export_takes(
    tmp_path: Path, wide: Path, source: str, precision: Precision, capsys: pytest.CaptureFixture[str]
) -> None:
    device: Any = "cuda" if precision in FOR_CUDA else "cpu"
    source = str(wide) if source == "wide" else source
    status, found = inspected(capsys, source, "--device", device, "--precision", precision)
    assert status == 0
    exported = export(source, repository=tmp_path / "models", device=device, precision=precision)
    assert disk_bytes(found, device, precision) == pytest.approx(exported.bytes, rel=0.02)


def test_the_estimate_of_the_disk_knows_the_graph_for_cuda_graphs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, found = inspected(capsys, "tiny", "--device", "cuda", "--ort-version", "1.31")
    exported = export("tiny", repository=tmp_path, device="cuda", ort_version="1.31")
    assert disk_bytes(found, "cuda", "bf16") == pytest.approx(exported.bytes, rel=0.02)


@pytest.mark.parametrize("kind", ["embedding", "reranker"])
def test_weights_are_not_read(
    tmp_path: Path, kind: Kind, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_random_checkpoint(tmp_path / "model")
    expected = inspected(capsys, str(folder), "--kind", kind)
    empty_weights(folder)
    read = []
    mapped = StoredTensor.map

    def refuse(tensor: StoredTensor) -> Any:  # noqa: ANN401
        read.append(tensor.name)
        return mapped(tensor)

    def no_stripes(tensor: StoredTensor) -> Any:  # noqa: ANN401
        raise AssertionError(f"{tensor.name} was read")

    monkeypatch.setattr(StoredTensor, "map", refuse)
    monkeypatch.setattr(StoredTensor, "stripes", no_stripes)
    assert inspected(capsys, str(folder), "--kind", kind) == expected
    # A reranker's two rows become part of the graph; the table that they are taken from is mapped, and not read.
    assert set(read) == (set() if kind == "embedding" else {"embed_tokens.weight"})


def test_a_checkpoint_of_16_gb_is_inspected_from_its_headers_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = published_config("8B") | {"max_position_embeddings": 4096}
    (tmp_path / "config.json").write_text(json.dumps(config))
    write_byte_tokenizer(tmp_path)
    write_headers(tmp_path / "model.safetensors", config)
    status, found = inspected(capsys, str(tmp_path))
    assert (status, found["size"], found["dimensions"], found["context"]) == (0, "7.6B", 4096, 4096)
    assert disk_bytes(found, "cpu", "fp32") > 28e9 > 9e9 > disk_bytes(found, "cpu", "int8") > 7e9


def test_the_table_says_what_export_will_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_random_checkpoint(tmp_path / "model")
    assert main(["inspect", str(folder), "--dimensions", "48"]) == 0
    lines = dict(re.findall(r"^(\S.*?) {2,}(\S.*)$", capsys.readouterr().out, re.MULTILINE))
    assert lines["kind"] == "embedding (the default; --kind reranker for a reranker)"
    assert lines["decoder"] == "2 layers, hidden size 64, 4 heads and 2 key/value heads of 32"
    assert lines["dimensions"] == "64; may be cut to sizes 48, 64 (from --dimensions)"
    assert lines["pooling"] == "last token"
    exported = export(str(folder), repository=tmp_path / "models", dimensions="48")
    assert (lines["source"], lines["kind"].split()[0]) == (str(folder), exported.kind.kind)
    assert lines["size"].startswith(exported.size)


@pytest.mark.parametrize(
    ("config", "arguments"),
    [
        ({"hidden_act": "gelu"}, []),
        ({"model_type": "qwen2"}, []),
        ({"num_hidden_layers": 3}, []),
        ({"intermediate_size": 192}, []),
        ({"is_causal": False}, []),
        ({"matryoshka_dimensions": [65]}, []),
        ({}, ["--dimensions", "16"]),
        ({}, ["--precision", "bf16"]),
        ({}, ["--kind", "reranker", "--dimensions", "32"]),
    ],
    ids=str,
)
def test_it_refuses_what_export_refuses_with_the_same_reason(
    tmp_path: Path, config: dict[str, Any], arguments: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_random_checkpoint(tmp_path / "model")
    stored = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(stored | config))
    status, found = inspected(capsys, str(folder), *arguments)
    assert (status, found["exportable"]) == (1, False)
    options: Any = dict(zip((name.removeprefix("--") for name in arguments[::2]), arguments[1::2], strict=True))
    with pytest.raises(ExportError) as refusal:
        export(str(folder), repository=tmp_path / "models", **options)
    assert found["refusals"][0] == str(refusal.value)
    assert main(["inspect", str(folder), *arguments]) == 1
    assert f"refused: {refusal.value}" in capsys.readouterr().out


def test_several_refusals_are_all_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_random_checkpoint(tmp_path / "model")
    stored = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(stored | {"is_causal": False, "intermediate_size": 192}))
    (folder / "config_sentence_transformers.json").write_text('{"prompts": {"query": 1}}')
    _, found = inspected(capsys, str(folder), "--precision", "fp16", "--dimensions", "16")
    named = [
        "fp16 needs a GPU",
        "no modules.json that says how",
        "--dimensions 16 does not fit",
        "prompts that are not",
    ]
    assert [sum(reason in refusal for refusal in found["refusals"]) for reason in named] == [1, 1, 1, 1]


def test_a_checkpoint_that_does_not_exist_has_a_reason_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    status, found = inspected(capsys, "./nowhere")
    assert (status, found["exportable"], found["precisions"]) == (1, False, [])
    assert "there is no folder ./nowhere" in found["refusals"][0]


def test_other_devices_refuse_by_precision(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_random_checkpoint(tmp_path / "model")
    stored = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(stored | {"use_bidirectional_attention": True}))
    status, found = inspected(capsys, str(folder), "--kind", "reranker")
    assert status == 0
    refused = {each["device"] for each in found["precisions"] if each["refusal"]}
    assert refused == {"cuda", "tensorrt"}


def write_headers(path: Path, config: dict[str, Any]) -> None:
    """Write a safetensors file of the true shape, with its header, and a hole for the weights."""
    header: dict[str, Any] = {}
    end = 0
    for shard in shards(Geometry.from_config(config)):
        for name, shape in shard.items():
            size = 2 * int(np.prod(shape))
            header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + size]}
            end += size
    written = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(written).to_bytes(8, "little") + written)
        file.truncate(8 + len(written) + end)
