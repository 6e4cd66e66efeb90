"""Qwen's vocabulary, cut to the tokens that some texts need most.

The embedding table is most of a small model: 151,669 tokens are 78 MB at 256 dimensions in bfloat16, and 16,384 are 8.
A text that needs a token which was cut gets shorter ones, in the last resort its bytes.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

sys.path.append(str(Path(__file__).parents[2] / "tests"))
from support.qwen_tokenizer import build_qwen_tokenizer

END = "<|endoftext|>"


def cut_tokenizer(texts: Iterable[tuple[float, list[str]]], *, size: int) -> Tokenizer:
    """Return the genuine tokenizer with fewer tokens, and new ids for them.

    It keeps the 256 bytes, `<|endoftext|>`, which it appends to every text, and no other special token.

    Args:
        texts: Lists of texts, each with the weight of its tokens.
        size: Number of tokens.
    """
    full = build_qwen_tokenizer()
    needed: Counter[str] = Counter()
    for weight, group in texts:
        for encoding in full.encode_batch(group, add_special_tokens=False):
            for token in encoding.tokens:
                needed[token] += weight  # type: ignore[assignment] # a float
    parts: dict[str, Any] = json.loads(full.to_str())
    model = parts["model"]
    order = {(left, right): index for index, (left, right) in enumerate(model["merges"])}
    kept = {token for token in model["vocab"] if len(token) == 1}
    for token, _ in needed.most_common():
        if token in model["vocab"] and token not in kept:
            new = _with_intermediates(token, order) - kept
            if len(kept) + len(new) >= size:
                break
            kept |= new
    ids = {token: index for index, token in enumerate(sorted(kept, key=model["vocab"].__getitem__))}
    merges = [pair for pair in model["merges"] if {*pair, "".join(pair)} <= kept]
    (end,) = [token for token in parts["added_tokens"] if token["content"] == END]
    end["id"] = len(ids)
    for template in parts["post_processor"]["processors"]:
        if "special_tokens" in template:
            template["special_tokens"][END]["ids"] = [end["id"]]
    cut = parts | {"model": model | {"vocab": ids, "merges": merges}, "added_tokens": [end]}
    return Tokenizer.from_str(json.dumps(cut))


def _with_intermediates(token: str, order: dict[tuple[str, str], int]) -> set[str]:
    """Return a token with all tokens that byte-pair encoding puts together on its way to it."""
    found, pieces = {token}, list(token)
    while len(pieces) > 1:
        at = min(range(len(pieces) - 1), key=lambda i: order.get((pieces[i], pieces[i + 1]), len(order)))
        pieces[at : at + 2] = ["".join(pieces[at : at + 2])]
        found.add(pieces[at])
    return found
