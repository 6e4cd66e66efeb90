"""``qwen3-triton verify`` passes what is right, and fails, by name, what is not."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from qwen3_export import export
from qwen3_export.verify import VerifyError, verify_model
from support.checkpoints import Shape, make_checkpoint
from tokenizers import Tokenizer

Run = Callable[..., Any]


def _weight(directory: Path, part: str) -> "np.memmap[Any, np.dtype[np.float32]]":
    """A float32 weight of an exported model, open for change on disk."""
    graph = onnx.load(str(directory / "1" / "model.onnx"), load_external_data=False).graph
    (tensor,) = [t for t in graph.initializer if part in t.name and t.data_type == onnx.TensorProto.FLOAT]
    location = {entry.key: entry.value for entry in tensor.external_data}
    return np.memmap(
        directory / "1" / location["location"], np.float32, "r+", int(location["offset"]), tuple(tensor.dims)
    )


def test_good_exports_of_both_kinds_pass(repository: Path, checkpoint: Path, run: Run) -> None:
    done = run(repository)
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("3 of 3 models pass.\n")
    for name, files in (("qwen3_embedding", 7), ("qwen3_embedding_int8", 8), ("qwen3_reranker", 7)):
        (verdict,) = re.findall(rf"^{name}: PASS, (.*)", done.out, flags=re.MULTILINE)
        assert "26 of 26 texts within bounds" in verdict
        assert "26 of 26 texts have the same bits in" in verdict
        assert f"{files} files as exported" in verdict
    for language in ("English", "Chinese", "Russian", "Arabic", "Japanese", "French", "German", "Hindi"):
        assert len(re.findall(rf"^{language} +[\d,]+ ", done.out, flags=re.MULTILINE)) == 3
    # The model's own limit bounds the lengths.
    assert "length 2,048" in done.out
    assert "length 4,096" not in done.out
    assert f"compared with transformers on {checkpoint} in float32" in done.out


def test_max_tokens_bounds_every_text(repository: Path, run: Run) -> None:
    done = run(repository, "--max-tokens", "20")
    assert done.code == 0
    lengths = [int(length) for length in re.findall(r"^\S.*?  +(\d+)  +[\d.]", done.out, flags=re.MULTILINE)]
    assert max(lengths) == 20
    assert "length 20" in done.out
    assert "length 64" not in done.out


@pytest.mark.parametrize("part", ["layers.0.self_attn.qkv_proj.product", "layers.1.mlp.down_proj.product"])
def test_an_altered_weight_fails(copy: Path, run: Run, state_again: Callable[[Path], None], part: str) -> None:
    weight = _weight(copy / "qwen3_embedding", part)
    weight[...] *= 1.01
    weight.flush()
    done = run(copy, "--max-tokens", "64")
    assert done.code == 1
    assert "1/model.onnx.data: altered" in done.out
    assert "nothing else was compared" in done.out

    state_again(copy / "qwen3_embedding")
    done = run(copy, "--max-tokens", "64")
    assert done.code == 1
    assert re.search(r"^qwen3_embedding: FAIL, 0 of \d+ texts within bounds", done.out, flags=re.MULTILINE)
    assert re.search(r"^  'Chinese' \(\d+ tokens\): cosine 0\.99\d+ is below 0\.999999", done.out, flags=re.MULTILINE)
    assert re.search(r"^Chinese .* FAIL$", done.out, flags=re.MULTILINE)


def test_nan_fails(copy: Path, run: Run, state_again: Callable[[Path], None]) -> None:
    weight = _weight(copy / "qwen3_embedding", "layers.1.mlp.down_proj.product")
    weight[0, 0] = np.nan
    weight.flush()
    state_again(copy / "qwen3_embedding")
    done = run(copy, "--max-tokens", "64")
    assert done.code == 1
    assert "'Chinese' (64 tokens): the result is not finite" in done.out
    assert "smallest cosine nan" in done.out


def test_another_tokenizer_fails(copy: Path, run: Run, state_again: Callable[[Path], None]) -> None:
    path = copy / "qwen3_embedding" / "tokenizer.json"
    content = json.loads(path.read_text())
    content["normalizer"] = {"type": "Lowercase"}
    Tokenizer.from_str(json.dumps(content)).save(str(path))
    state_again(copy / "qwen3_embedding")
    done = run(copy, "--max-tokens", "64")
    assert done.code == 1
    assert "tokenizer.json and the checkpoint's tokenizer give different ids for 'English'" in done.out
    assert "qwen3_embedding: FAIL" in done.out


def test_a_checkpoint_without_a_tokenizer_is_noted(
    repository: Path, checkpoint: Path, tmp_path: Path, run: Run
) -> None:
    for file in ("config.json", "model.safetensors"):
        shutil.copyfile(checkpoint / file, tmp_path / file)
    done = run(repository, "--name", "qwen3_reranker", "--source", str(tmp_path), "--max-tokens", "64")
    assert done.code == 0
    assert f"note: {tmp_path} holds no tokenizer" in done.out


@pytest.mark.parametrize("name", ["qwen3_embedding", "qwen3_reranker"])
def test_other_weights_fail(repository: Path, tmp_path: Path, run: Run, name: str) -> None:
    other = make_checkpoint(tmp_path, Shape(), seed=1)
    done = run(repository, "--name", name, "--source", str(other), "--max-tokens", "64")
    assert done.code == 1
    assert f"{name}: FAIL" in done.out


def test_sources_that_cannot_be_the_one_are_named(repository: Path, tmp_path: Path, run: Run) -> None:
    wider = make_checkpoint(tmp_path / "wider", Shape(hidden=128))
    (tmp_path / "empty").mkdir()
    bert, broken = tmp_path / "bert", tmp_path / "broken"
    bert.mkdir()
    broken.mkdir()
    (broken / "config.json").write_text("{")
    (bert / "config.json").write_text('{"model_type": "bert"}')
    cases = {
        str(wider): "correct --source",
        str(tmp_path / "empty"): "holds no config.json",
        str(broken): "cannot load the config.json",
        str(bert): "a bert model, not a qwen3 model",
        str(tmp_path / "nowhere"): "there is no folder",
    }
    for source, message in cases.items():
        done = run(repository, "--name", "qwen3_embedding", "--source", source, "--max-tokens", "8")
        assert done.code == 1
        assert done.err.startswith("qwen3-triton verify: ")
        assert message in done.err
        assert done.err.count("\n") == 1
        assert "PASS" not in done.out


def test_a_checkpoint_with_gaps_is_no_reference(repository: Path, checkpoint: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(checkpoint, tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(VerifyError, match=r"lacks 1 weights, layers\.1\.mlp\.up_proj"):
        verify_model(repository / "qwen3_embedding", source=str(tmp_path), max_tokens=8)


def test_too_little_memory_is_said_before_it_runs_out(
    repository: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qwen3_export.verify import reference

    monkeypatch.setattr(reference, "available_bytes", lambda: 100_000)
    done = run(repository, "--name", "qwen3_embedding")
    assert done.code == 1
    assert "takes 0.0 GB of memory for float32 weights" in done.err

    def fail(_self: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.undo()
    monkeypatch.setattr(reference.Reference, "_load", fail)
    done = run(repository, "--name", "qwen3_embedding")
    assert done.code == 1
    assert "lower --max-tokens" in done.err


def test_tiny_needs_a_source(tmp_path: Path, run: Run) -> None:
    export("tiny", repository=tmp_path)
    done = run(tmp_path)
    assert done.code == 1
    assert "pass --source" in done.err
    assert run(tmp_path, "--files").code == 0


def test_a_source_that_moved_is_named(tmp_path: Path, run: Run) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", Shape())
    export(str(checkpoint), repository=tmp_path / "repository")
    checkpoint.rename(tmp_path / "moved")
    done = run(tmp_path / "repository", "--max-tokens", "8")
    assert done.code == 1
    assert f"exported from {checkpoint}, which is not on this machine; pass --source" in done.err
    assert run(tmp_path / "repository", "--max-tokens", "8", "--source", str(tmp_path / "moved")).code == 0


def test_nothing_to_verify_is_a_failure(tmp_path: Path, repository: Path, run: Run) -> None:
    # What a checkout holds before the first export is no exported model.
    (tmp_path / "qwen3_embedding").mkdir()
    (tmp_path / "qwen3_embedding" / "config.pbtxt").write_text("")
    for folder, arguments, message in (
        (tmp_path, [], "holds no exported model"),
        (tmp_path, ["--files"], "holds no exported model"),
        (tmp_path / "nowhere", [], "there is no model repository"),
        (repository, ["--name", "other"], "no exported model other; correct --name, which can be: qwen3_embedding,"),
    ):
        done = run(folder, *arguments)
        assert done.code == 1
        assert message in done.err
        assert done.out == ""


def test_one_bad_model_fails_the_repository_and_hides_none(copy: Path, repository: Path, run: Run) -> None:
    shutil.copytree(repository / "qwen3_reranker", copy / "qwen3_reranker")
    (copy / "qwen3_embedding" / "manifest.json").unlink()
    done = run(copy, "--max-tokens", "8")
    assert done.code == 1
    assert "manifest.json is missing" in done.err
    assert "qwen3_reranker: PASS" in done.out
    assert "1 of 2 models pass." in done.out


def test_a_graph_of_the_other_kind_is_named(copy: Path, run: Run) -> None:
    path = copy / "qwen3_embedding" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "kind": "reranker"}))
    done = run(copy, "--max-tokens", "8")
    assert done.code == 1
    assert "says that its kind is reranker, but the outputs of its graph are embedding" in done.err


def test_a_damaged_graph_is_named(copy: Path, run: Run, state_again: Callable[[Path], None]) -> None:
    for graph in (copy / "qwen3_embedding" / "1").glob("*.onnx"):
        graph.write_bytes(b"no graph")
    state_again(copy / "qwen3_embedding")
    done = run(copy, "--max-tokens", "8")
    assert done.code == 1
    assert "does not load in ONNX Runtime" in done.err
    assert done.err.count("\n") == 1


def test_a_published_source_is_held_to_its_model_card(copy: Path, checkpoint: Path, run: Run) -> None:
    path = copy / "qwen3_embedding" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "source": "Qwen/Qwen3-Embedding-0.6B"}))
    done = run(copy, "--source", str(checkpoint), "--max-tokens", "256")
    assert done.code == 1
    assert "the cosines differ from the model card's by" in done.out
    assert "26 of 26" not in done.out
    assert re.search(r"(\d+) of \1 texts within bounds", done.out), "nothing else is wrong"
    done = run(copy, "--source", str(checkpoint), "--max-tokens", "20")
    assert done.code == 1
    assert "raise --max-tokens" in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--files", "--url", "localhost:8001"],
        ["--files", "--source", "x"],
        ["--files", "--max-tokens", "8"],
        ["--max-tokens", "0"],
        ["--url", "http://localhost:8000"],
        ["--url", "localhost"],
    ],
)
def test_wrong_usage(repository: Path, run: Run, arguments: list[str]) -> None:
    done = run(repository, *arguments)
    assert done.code == 2
    assert done.err.startswith("qwen3-triton verify: --")
    assert done.out == ""
