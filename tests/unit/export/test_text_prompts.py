"""The prompts of a checkpoint, as sentence-transformers saves them, become parameters of the model."""

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from qwen3_export import ExportError, export
from qwen3_export.checkpoint.text_prompts import prompt_parameters
from qwen3_export.checkpoint.tiny import write_tiny_checkpoint
from tritonclient.grpc.model_config_pb2 import ModelConfig

QWEN = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
TASK = "Given a web search query, retrieve relevant passages that answer the query"


def parameters(folder: Path, **saved: Any) -> dict[str, str]:  # noqa: ANN401
    (folder / "config_sentence_transformers.json").write_text(json.dumps(saved), "utf-8")
    return prompt_parameters(folder, default_instruction="Default")


@pytest.mark.parametrize(
    ("saved", "expected"),
    [
        ({}, {"query_prompt": ""}),
        ({"prompts": {}, "default_prompt_name": None}, {"query_prompt": ""}),
        ({"prompts": {"query": QWEN, "document": ""}}, {"default_instruction": TASK}),
        ({"prompts": {"query": QWEN}}, {"default_instruction": TASK}),
        ({"prompts": {"query": "Instruct: Find code\nQuery:"}}, {"default_instruction": "Find code"}),
        ({"prompts": {"query": f"{QWEN} "}}, {"query_prompt": f"{QWEN} "}),
        ({"prompts": {"query": "Query: ", "document": ""}}, {"query_prompt": "Query: "}),
        ({"prompts": {"query": "", "document": ""}}, {"query_prompt": ""}),
        ({"prompts": {"query": QWEN, "document": "- "}}, {"default_instruction": TASK, "document_prompt": "- "}),
        ({"prompts": {"document": "- "}}, {"query_prompt": "", "document_prompt": "- "}),
        (
            {"prompts": {"query": "Query: ", "document": "Document: "}, "default_prompt_name": "document"},
            {"query_prompt": "Query: ", "document_prompt": "Document: "},
        ),
        (
            {"prompts": {"query": "q", "document": "d", "x": "y"}, "default_prompt_name": "x"},
            {"query_prompt": "q", "document_prompt": "d"},
        ),
    ],
    ids=str,
)
def test_prompts_become_parameters(tmp_path: Path, saved: dict[str, Any], expected: dict[str, str]) -> None:
    assert parameters(tmp_path, **saved) == expected


def test_only_a_model_that_the_library_did_not_save_has_qwens_instruction(tmp_path: Path) -> None:
    assert prompt_parameters(tmp_path, default_instruction="Default") == {"default_instruction": "Default"}
    (tmp_path / "modules.json").write_text("[]")
    assert prompt_parameters(tmp_path, default_instruction="Default") == {"query_prompt": ""}


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ({"prompts": {"query": 1}}, "not texts"),
        ({"prompts": ["query"]}, "not texts"),
        ({"prompts": {"query": "q", "passage": "p"}}, "prompt 'passage' and none called 'document'"),
        ({"prompts": {"web": "w"}, "default_prompt_name": "web"}, "names 'web' as the default prompt"),
    ],
    ids=str,
)
def test_what_is_not_clear_is_refused(tmp_path: Path, saved: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        parameters(tmp_path, **saved)


def test_a_version_keeps_its_prompts(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    write_tiny_checkpoint(folder)
    saved = folder / "config_sentence_transformers.json"
    saved.write_text('{"prompts": {"query": "Query: ", "document": "Document: "}}')
    directory = export(str(folder), repository=tmp_path / "repository").directory
    for config in ("config.pbtxt", "configs/embedded.pbtxt"):
        stated = text_format.Parse((directory / config).read_text(), ModelConfig()).parameters
        assert "default_instruction" not in stated
        assert (stated["query_prompt"].string_value, stated["document_prompt"].string_value) == (
            "Query: ",
            "Document: ",
        )
    export(str(folder), repository=tmp_path / "repository", version=2)
    saved.write_text('{"prompts": {"query": "Query: ", "document": "Passage: "}}')
    with pytest.raises(ExportError, match="its document_prompt is 'Passage: '"):
        export(str(folder), repository=tmp_path / "repository", version=3)
