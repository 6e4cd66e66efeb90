"""Conversion of a Qwen3 checkpoint to a GGUF file, with matrices of a chosen type and norms in float32."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

# Source: gguf's tensor names of the architecture "qwen3"; rotary halves are as in the checkpoint.
_NAMES = {
    "embed_tokens": "token_embd",
    "norm": "output_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(checkpoint: Path, target: Path, *, type_name: str) -> None:
    """Write `target`; `type_name` is `BF16` or `Q8_0`."""
    config = json.loads((checkpoint / "config.json").read_text())
    kind = gguf.GGMLQuantizationType[type_name]
    partial = target.with_suffix(".partial")
    writer = gguf.GGUFWriter(partial, "qwen3")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_pooling_type(gguf.PoolingType.LAST)
    writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{type_name}"])
    _add_vocabulary(writer, checkpoint / "tokenizer.json", size=config["vocab_size"])
    for name, values in _tensors(checkpoint):
        if values.ndim == 1:
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.replace(target)


def _add_vocabulary(writer: gguf.GGUFWriter, path: Path, *, size: int) -> None:
    """Add the vocabulary, which llama.cpp requires, though the token ids in this benchmark do not come from it."""
    tokenizer = json.loads(path.read_text("utf-8"))
    tokens = [f"<unused {i}>" for i in range(size)]
    kinds = [gguf.TokenType.UNUSED] * size
    for token, i in tokenizer["model"]["vocab"].items():
        tokens[i], kinds[i] = token, gguf.TokenType.NORMAL
    for added in tokenizer["added_tokens"]:
        tokens[added["id"]], kinds[added["id"]] = added["content"], gguf.TokenType.CONTROL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    merges = tokenizer["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])


def _tensors(checkpoint: Path) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """Yield every tensor as float32 with its name in GGUF."""
    for path in sorted(checkpoint.glob("*.safetensors")):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            start = file.tell()
            for name, stored in header.items():
                if name == "__metadata__":
                    continue
                if stored["dtype"] != "BF16":
                    raise ValueError(f"{name} is {stored['dtype']}; this writer reads bfloat16 checkpoints")
                begin, end = stored["data_offsets"]
                file.seek(start + begin)
                halves = np.frombuffer(file.read(end - begin), np.uint16)
                yield _renamed(name), (halves.astype(np.uint32) << 16).view(np.float32).reshape(stored["shape"])


def _renamed(name: str) -> str:
    stem = name.removeprefix("model.").removesuffix(".weight")
    if not stem.startswith("layers."):
        return f"{_NAMES[stem]}.weight"
    _, layer, rest = stem.split(".", 2)
    return f"blk.{layer}.{_NAMES[rest]}.weight"
