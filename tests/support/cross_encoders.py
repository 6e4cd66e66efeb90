"""Small random rerankers with a head of their own, made by transformers and saved by sentence-transformers."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from qwen3_export.checkpoint.tiny import write_byte_tokenizer
from sentence_transformers import CrossEncoder
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForSequenceClassification

from .checkpoints import Shape, make_checkpoint

# As sentence-transformers and vLLM publish it for Qwen3-Reranker. Jinja drops the last line break.
TEMPLATE = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    "provided. "
    'Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n<Instruct>: '
    '{{ messages | selectattr("role", "eq", "system") | map(attribute="content") | first '
    '| default("Find the passage") }}\n'
    '<Query>: {{ messages | selectattr("role", "eq", "query") | map(attribute="content") | first }}\n'
    '<Document>: {{ messages | selectattr("role", "eq", "document") | map(attribute="content") | first }}<|im_end|>\n'
    "<|im_start|>assistant\n<think>\n\n</think>\n\n\n"
)
_END = "<|endoftext|>"


def write_tokenizer(folder: Path, *, template: str | None = None) -> None:
    """Write the byte tokenizer as transformers reads it, with a chat template or without."""
    write_byte_tokenizer(folder)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), eos_token=_END, pad_token=_END)
    tokenizer.model_max_length = 2048
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)


def make_classifier(folder: Path, *, labels: int = 1, template: str | None = None, **config: Any) -> Path:  # noqa: ANN401
    """Write a `Qwen3ForSequenceClassification` with these fields in its config.json, and return its folder."""
    torch.manual_seed(labels)
    sizes = Qwen3Config(
        vocab_size=260,
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=2048,
        initializer_range=0.1,
        rope_theta=1_000_000.0,
        pad_token_id=256,
        **{"num_labels": labels, **config},
    )
    Qwen3ForSequenceClassification(sizes).save_pretrained(folder)
    write_tokenizer(folder, template=template)
    return folder


def save_cross_encoder(folder: Path, *, template: str | None = TEMPLATE, **options: Any) -> Path:  # noqa: ANN401
    """Save a classifier as sentence-transformers does, and return its folder."""
    make_classifier(folder / "plain", template=template)
    CrossEncoder(str(folder / "plain"), device="cpu", **options).save_pretrained(str(folder / "saved"))
    return folder / "saved"


def save_logit_score(folder: Path, *, template: str = TEMPLATE, **tokens: Any) -> Path:  # noqa: ANN401
    """Save a causal reranker with a `LogitScore` as sentence-transformers does, and return its folder."""
    from sentence_transformers.cross_encoder.modules import LogitScore, Transformer

    plain = make_checkpoint(folder / "plain", Shape(dtype="float32", tied=False))
    write_tokenizer(plain, template=template)
    score = LogitScore(**{"true_token_id": 258, "false_token_id": 259, **tokens})
    modules = [Transformer(str(plain), transformer_task="text-generation"), score]
    CrossEncoder(modules=modules, device="cpu").save_pretrained(str(folder / "saved"))
    return folder / "saved"


def logits_of(folder: Path, pairs: list[tuple[str, str]]) -> Any:  # noqa: ANN401
    """Return what sentence-transformers computes for pairs before the activation, float32 `[n]` or `[n, labels]`."""
    return CrossEncoder(str(folder), device="cpu", activation_fn=torch.nn.Identity()).predict(pairs)


def edit_json(path: Path, **fields: Any) -> Mapping[str, Any]:  # noqa: ANN401
    """Change fields of a JSON object in a file; None removes one. Return the new content."""
    content = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    content = {key: value for key, value in {**content, **fields}.items() if value is not None}
    path.write_text(json.dumps(content), "utf-8")
    return dict(content)
