"""`tiny`: a small random checkpoint, made when it is needed, to try everything in seconds and without a network.

Its weights are random, so its vectors have no meaning. Everything else is as in the published models: query heads in
groups, heads x head_dim different from the hidden size, sharded bfloat16 weights, and a byte-level tokenizer that
appends `<|endoftext|>`.
"""

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from .random_checkpoint import write_random_checkpoint

TINY = "tiny"  # the name that stands for it where a checkpoint is named

TINY_CONFIG: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_act": "silu",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "intermediate_size": 160,
    "vocab_size": 260,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1_000_000.0,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "torch_dtype": "bfloat16",
}
_END_OF_TEXT = "<|endoftext|>"


def write_tiny_checkpoint(folder: Path) -> None:
    """Write config.json, sharded weights and tokenizer.json into `folder`: the same bytes every time."""
    # 1 / 8 = 1 / sqrt(hidden_size) keeps activations near 1 from layer to layer.
    write_random_checkpoint(folder, TINY_CONFIG, std=1 / 8)
    write_byte_tokenizer(folder)


def write_byte_tokenizer(folder: Path) -> None:
    """Write a byte-level tokenizer.json: one token per byte, `<|endoftext|>` (256), and a reranker's two answers."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: i for i, symbol in enumerate(alphabet)} | {
        _END_OF_TEXT: 256,
        "ye": 257,
        "yes": 258,
        "no": 259,
    }
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("y", "e"), ("ye", "s"), ("n", "o")]))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(_END_OF_TEXT, special=True, normalized=False)])
    end = tokenizer.token_to_id(_END_OF_TEXT)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {_END_OF_TEXT}", special_tokens=[(_END_OF_TEXT, end)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
