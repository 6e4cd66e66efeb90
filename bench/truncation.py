"""Time to truncate texts to 512 tokens: by tokenizing all of a text, and as the client does it, which stops early.

    python bench/truncation.py

With the genuine vocabulary of Qwen and with the byte-level vocabulary of `tiny`; medians in milliseconds. Texts are
English words, except the last one, which is a single word, so that the client cannot stop early.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from qwen3_client.frame import Prompt
from qwen3_client.tokenizer import TextTokenizer
from qwen3_export.checkpoint.tiny import write_byte_tokenizer
from tokenizers import Tokenizer

sys.path.append(str(Path(__file__).parent.parent / "tests"))

from support.qwen_tokenizer import build_qwen_tokenizer

KEPT = 512  # tokens
LENGTHS = (10_000, 100_000, 1_000_000, 2_000_000)  # characters
WORDS = "A query's words retrieve passages, as often as not, which a model has read before anyone asked for them."


def main() -> None:
    """Print one row of the table for each tokenizer and kind of text."""
    rng = random.Random(0)  # noqa: S311 - no secret
    words = " ".join(rng.choices(WORDS.split(), k=max(LENGTHS) // 2))
    texts = {"64 of 200, none cut": [words[200 * i : 200 * (i + 1)] for i in range(64)]}
    texts |= {f"{length:,}": [words[:length]] for length in LENGTHS}
    texts["1,000,000, one word"] = ["a" * 1_000_000]
    with tempfile.TemporaryDirectory() as folder:
        write_byte_tokenizer(Path(folder))
        tokenizers = {"genuine": build_qwen_tokenizer(), "bytes": Tokenizer.from_file(f"{folder}/tokenizer.json")}
    print("| tokenizer | characters | whole | client, end cut | client, start cut |\n| --- | --- | --- | --- | --- |")
    for name, tokenizer in tokenizers.items():
        client = TextTokenizer(tokenizer.to_str().encode(), max_tokens=KEPT + 1, eos_token_id=0)
        for characters, some in texts.items():
            prompts = [Prompt(text) for text in some]
            ways: tuple[Callable[[], object], ...] = (
                partial(whole, tokenizer, some),
                partial(client.encode, prompts, truncate="end"),
                partial(client.encode, prompts, truncate="start"),
            )
            print(
                f"| {name} | {characters} | " + " | ".join(f"{median_ms(way):,.2f}" for way in ways) + " |", flush=True
            )


def whole(tokenizer: Tokenizer, texts: Sequence[str]) -> list[npt.NDArray[np.int64]]:
    """Tokenize all of every text, and truncate the ids."""
    encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    return [np.array([*encoding.ids[:KEPT], 0], dtype=np.int64) for encoding in encodings]


def median_ms(way: Callable[[], object]) -> float:
    """Return the median time of a call, which is timed at least five times and for at least a second."""
    times: list[float] = []
    while len(times) < 5 or sum(times) < 1:
        start = time.perf_counter()
        way()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


if __name__ == "__main__":
    main()
