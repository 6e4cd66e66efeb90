"""The genuine Qwen3-Embedding tokenizer without a model hub.

``dashscope``, Qwen's own SDK, carries the byte-level BPE ranks; the rest (normaliser, split pattern, added tokens,
post-processor) is what the published tokenizer.json states.
"""

import base64
import bisect
import importlib.util
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

_DASHSCOPE = importlib.util.find_spec("dashscope")  # found, not imported: only its data is wanted
if _DASHSCOPE is None or _DASHSCOPE.origin is None:
    raise ModuleNotFoundError("No module named 'dashscope'", name="dashscope")
_RANKS = Path(_DASHSCOPE.origin).parent / "resources" / "qwen.tiktoken"

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
    ranks = _read_ranks()
    # Every way to put a token together from two others, in the order in which BPE must prefer them.
    merges = sorted(
        (rank, ranks[left], ranks[right], left, right)
        for token, rank in ranks.items()
        for left, right in ((token[:cut], token[cut:]) for cut in range(1, len(token)))
        if left in ranks and right in ranks
    )
    spelt = _byte_characters()
    vocabulary = {_spell(token, spelt): rank for token, rank in ranks.items()}
    pairs = [(_spell(left, spelt), _spell(right, spelt)) for *_, left, right in merges]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs, fuse_unk=False, ignore_merges=True))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PATTERN), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
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


def _read_ranks() -> dict[bytes, int]:
    """Read each token's bytes and its rank, which is its id."""
    lines = (line.split() for line in _RANKS.read_bytes().splitlines())
    return {base64.b64decode(token): int(rank) for token, rank in lines}


def _byte_characters() -> list[str]:
    """Return the character that stands for each byte: itself if it is printable, else one from 256 on."""
    characters = sorted(pre_tokenizers.ByteLevel.alphabet())
    stand_ins = iter(characters[bisect.bisect_left(characters, chr(256)) :])
    printable = set(characters)
    return [chr(byte) if chr(byte) in printable else next(stand_ins) for byte in range(256)]


def _spell(token: bytes, characters: list[str]) -> str:
    return "".join(characters[byte] for byte in token)
