"""Files of a checkpoint that hold JSON of another form than expected are refused in a sentence."""

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.numpy
from qwen3_client.cli.main import main
from qwen3_export.inspect.inspection import inspect_source
from qwen3_export.kind import Kind
from qwen3_export.plan import Request
from support.random_checkpoints import make_random_checkpoint

CONFIG, TOKENIZER = "config.json", "tokenizer_config.json"
SENTENCE, TRANSFORMER = "config_sentence_transformers.json", "sentence_bert_config.json"
TRANSFORMER_ALONE = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
DATED = "{% for m in messages %}[{{ m.role }}{{ m.content }}{{ strftime_now('%d') }}]{% endfor %}"


def refusal_of(folder: Path, **options: Any) -> str:  # noqa: ANN401
    inspection = inspect_source(Request(source=str(folder), **options))
    assert inspection.refusals
    return inspection.refusals[0]


def put(path: Path, content: dict[str, Any]) -> None:
    before = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(before | content))


@pytest.mark.parametrize(
    ("kind", "file", "content", "reason"),
    [
        ("reranker", SENTENCE, {"prompts": ["a"], "default_prompt_name": "a"}, "prompts that are not texts"),
        ("embedding", SENTENCE, {"prompts": {"query": "a"}, "default_prompt_name": ["a"]}, "which is not a name"),
        ("reranker", SENTENCE, {"prompts": {"query": "a"}, "default_prompt_name": ["a"]}, "which is not a name"),
        ("reranker", TRANSFORMER, {"processing_kwargs": ["x"]}, "processing_kwargs = ['x'], of which"),
        ("reranker", TRANSFORMER, {"processing_kwargs": {"chat_template": "x"}}, "processing_kwargs = "),
        ("reranker", TRANSFORMER, {"processing_kwargs": {"chat_template": {"chat_template": [1]}}}, "not a text"),
        ("reranker", TOKENIZER, {"chat_template": ["x"]}, "neither a text nor a list of names and texts"),
        ("reranker", TOKENIZER, {"chat_template": [{"name": ["a"], "template": "x"}]}, "neither a text nor a list"),
        ("reranker", TOKENIZER, {"chat_template": 3}, "neither a text nor a list"),
        ("reranker", TOKENIZER, {"chat_template": DATED}, "prints the current date, which would stay"),
        ("embedding", CONFIG, {"rms_norm_eps": 10**400}, "which is not a positive number"),
        ("embedding", CONFIG, {"rope_theta": 1, "rope_scaling": {"type": "yarn", "factor": 2.0}}, "rope_theta = 1"),
        ("embedding", CONFIG, {"matryoshka_dimensions": [32, 512]}, "name the sizes it was trained for with --dim"),
    ],
    ids=str,
)
@pytest.mark.parametrize("is_saved", [False, True], ids=["plain", "saved"])
def test_json_of_another_form_is_refused(
    tmp_path: Path, kind: Kind, file: str, content: dict[str, Any], reason: str, *, is_saved: bool
) -> None:
    folder = make_random_checkpoint(tmp_path / "model")
    if is_saved and kind == "reranker":
        (folder / "modules.json").write_text(json.dumps(TRANSFORMER_ALONE))
        forward = {"method": "forward", "method_output_name": "logits"}
        put(folder / TRANSFORMER, {"modality_config": {"text": forward, "message": forward}})
    put(folder / SENTENCE, {"model_type": "CrossEncoder" if kind == "reranker" else "SentenceTransformer"})
    put(folder / file, content)
    assert reason in refusal_of(folder, kind=kind)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ([1], "is no JSON object"),
        ({"norm.weight": {"shape": [1], "data_offsets": [0, 4]}}, "type, shape and offsets of tensor norm.weight"),
        ({"norm.weight": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}}, "type, shape and offsets"),
        ({"norm.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}, "type, shape and offsets"),
        ({"norm.weight": {"dtype": "F32", "shape": 1, "data_offsets": [0, 4]}}, "type, shape and offsets"),
        ({"norm.weight": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}, "cut short at tensor norm.weight"),
    ],
    ids=str,
)
def test_a_header_of_another_form_is_refused(tmp_path: Path, header: object, reason: str) -> None:
    folder = make_random_checkpoint(tmp_path / "model")
    for file in folder.glob("model*.safetensors*"):
        file.unlink()
    written = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(written).to_bytes(8, "little") + written + b"1234")
    assert reason in refusal_of(folder)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("alpha_pattern", {"q_proj": "8"}, "does not give positive numbers"),
        ("rank_pattern", ["q_proj"], "does not give positive numbers"),
        ("rank_pattern", {"(": 8}, "no regular expression"),
        ("target_modules", "(", "no regular expression"),
        ("target_modules", [1], "not names of modules"),
        ("exclude_modules", 3, "not names of modules"),
        ("exclude_modules", "(", "no regular expression"),
    ],
    ids=str,
)
def test_an_adapter_of_another_form_is_refused(tmp_path: Path, field: str, value: object, reason: str) -> None:
    folder = make_random_checkpoint(tmp_path / "model")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    tensors = safetensors.numpy.load_file(next(folder.glob("model*.safetensors")))
    name = "base_model.model.layers.0.self_attn.q_proj.lora_A.weight"
    safetensors.numpy.save_file({name: next(iter(tensors.values()))}, adapter / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    (adapter / "adapter_config.json").write_text(json.dumps(config | {field: value}))
    assert reason in refusal_of(folder, adapter=adapter)


def test_an_error_of_the_system_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "x" * 5000]) == 1
    assert capsys.readouterr().err.startswith("qwen3-triton inspect: [Errno ")
