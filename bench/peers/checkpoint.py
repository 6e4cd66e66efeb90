"""The checkpoint that all contenders run: random weights of the 0.6B shape, with the genuine vocabulary.

It has the files that sentence-transformers reads too: last-token pooling and normalisation, as in the published ones.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from qwen3_export import export
from qwen3_export.checkpoint.random_checkpoint import published_config, write_random_checkpoint

SHAPE = published_config("0.6B")
_END = "<|endoftext|>"
# Source: the files of Qwen/Qwen3-Embedding-0.6B.
_MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]
_POOLING = {"pooling_mode_lasttoken": True, "pooling_mode_mean_tokens": False, "include_prompt": True}
_TOKENIZER = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "pad_token": _END,
    "eos_token": _END,
    "padding_side": "left",
    "model_max_length": 32_768,
}


def make_checkpoint(folder: Path) -> None:
    """Write the checkpoint, unless it exists."""
    if (folder / "modules.json").exists():
        return
    print(f"writing random weights of the 0.6B shape to {folder}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_random_checkpoint(folder, SHAPE)
    _write_genuine_tokenizer(folder / "tokenizer.json")
    _write_library_files(folder)


def _write_library_files(folder: Path) -> None:
    """Write what sentence-transformers reads besides the weights."""
    (folder / "1_Pooling").mkdir()
    (folder / "2_Normalize").mkdir()
    pooling = _POOLING | {"word_embedding_dimension": SHAPE["hidden_size"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(_TOKENIZER))
    (folder / "special_tokens_map.json").write_text(json.dumps({"pad_token": _END, "eos_token": _END}))
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "modules.json").write_text(json.dumps(_MODULES))  # last, because it shows that the checkpoint is complete


def make_exports(checkpoint: Path, folder: Path) -> None:
    """Export it as fp32 and int8, every time, so that the exports are those of the present exporter."""
    for precision in ("fp32", "int8"):
        print(f"exporting it as {precision}", flush=True)
        export(str(checkpoint), repository=folder, name=precision, precision=precision, force=True)


def _write_genuine_tokenizer(path: Path) -> None:
    """Write the tokenizer that the tests build."""
    sys.path.append(str(Path(__file__).parents[2] / "tests"))
    from support.qwen_tokenizer import build_qwen_tokenizer

    build_qwen_tokenizer().save(str(path))
