"""The genuine Qwen3-Embedding tokenizer without a model hub.

``dashscope``, Qwen's own SDK, carries the byte-level BPE ranks; the rest (normaliser, split pattern, added tokens,
post-processor) is what the published tokenizer.json states.
"""

import importlib.util
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, processors
from transformers.convert_slow_tokenizer import TikTokenConverter

# Source: Qwen/Qwen3-Embedding-0.6B, tokenizer.json
_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_ADDED = {  # in order, from id 151643 on; True: special
    "<|endoftext|>": True,
    "<|im_start|>": True,
    "<|im_end|>": True,
    "<|object_ref_start|>": True,
    "<|object_ref_end|>": True,
    "<|box_start|>": True,
    "<|box_end|>": True,
    "<|quad_start|>": True,
    "<|quad_end|>": True,
    "<|vision_start|>": True,
    "<|vision_end|>": True,
    "<|vision_pad|>": True,
    "<|image_pad|>": True,
    "<|video_pad|>": True,
    "<tool_call>": False,
    "</tool_call>": False,
    "<|fim_prefix|>": False,
    "<|fim_middle|>": False,
    "<|fim_suffix|>": False,
    "<|fim_pad|>": False,
    "<|repo_name|>": False,
    "<|file_sep|>": False,
    "<tool_response>": False,
    "</tool_response>": False,
    "<think>": False,
    "</think>": False,
}


def build_qwen_tokenizer() -> Tokenizer:
    """Build it: 151,669 entries, ``<|endoftext|>`` (151643) appended to every text."""
    spec = importlib.util.find_spec("dashscope")  # found, not imported: only its data is wanted
    assert spec is not None
    assert spec.origin is not None
    ranks = Path(spec.origin).parent / "resources" / "qwen.tiktoken"
    tokenizer: Tokenizer = TikTokenConverter(
        vocab_file=str(ranks), pattern=_PATTERN, extra_special_tokens=[]
    ).converted()
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(text, special=special, normalized=False) for text, special in _ADDED.items()])
    end = "<|endoftext|>"
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
            processors.TemplateProcessing(
                single=f"$A {end}",
                pair=f"$A {end} $B {end}",
                special_tokens=[(end, tokenizer.token_to_id(end))],
            ),
        ]
    )
    return tokenizer
