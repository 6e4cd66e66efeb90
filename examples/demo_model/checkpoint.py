"""The folder of a trained checkpoint, as transformers and sentence-transformers read it."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from student import EPSILON, HEAD_DIM, HEADS, HIDDEN, INTERMEDIATE, LAYERS, ROPE_THETA
from tokenizers import Tokenizer
from torch import Tensor
from vocabulary import END

POSITIONS = 2048


def write_checkpoint(folder: Path, weights: dict[str, Tensor], tokenizer: Tokenizer, *, query_prompt: str) -> None:
    """Write config.json, the weights in bfloat16, the tokenizer, and what sentence-transformers needs."""
    (folder / "1_Pooling").mkdir(parents=True, exist_ok=True)
    rounded = {name: values.detach().to(torch.bfloat16).contiguous() for name, values in weights.items()}
    save_file(rounded, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), "utf-8")
    end = tokenizer.get_vocab()[END]
    _write(
        folder / "config.json",
        {
            "architectures": ["Qwen3Model"],
            "attention_bias": False,
            "eos_token_id": end,
            "head_dim": HEAD_DIM,
            "hidden_act": "silu",
            "hidden_size": HIDDEN,
            "intermediate_size": INTERMEDIATE,
            "is_matryoshka": True,
            "max_position_embeddings": POSITIONS,
            "model_type": "qwen3",
            "num_attention_heads": HEADS,
            "num_hidden_layers": LAYERS,
            "num_key_value_heads": HEADS,
            "rms_norm_eps": EPSILON,
            "rope_theta": ROPE_THETA,
            "tie_word_embeddings": True,
            "torch_dtype": "bfloat16",
            "vocab_size": end + 1,
        },
    )
    _write(
        folder / "tokenizer_config.json",
        {
            "eos_token": END,
            "model_max_length": POSITIONS,
            "pad_token": END,
            "padding_side": "left",
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
    )
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    _write(
        folder / "modules.json",
        [
            {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{name}"}
            for index, (path, name) in enumerate(modules)
        ],
    )
    _write(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": HIDDEN, "pooling_mode_lasttoken": True, "include_prompt": True},
    )
    _write(
        folder / "config_sentence_transformers.json",
        {"prompts": {"query": query_prompt, "document": ""}, "similarity_fn_name": "cosine"},
    )


def _write(path: Path, content: Any) -> None:  # noqa: ANN401 (what JSON can hold)
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
