"""Prompts in tests: their whole text, and their token ids."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from qwen3_client.frame import Prompt
from qwen3_client.options import Truncate
from qwen3_client.outcome import Outcome
from qwen3_client.tokenizer import TextTokenizer


def text_of(prompt: Prompt) -> str:
    """Return all that the model reads as one text."""
    before, after = ("".join(part.text for part in parts) for parts in (prompt.frame.before, prompt.frame.after))
    return f"{before}{prompt.text}{after}"


def encode(
    tokenizer: TextTokenizer, prompts: Iterable[str | Prompt], *, truncate: Truncate
) -> Outcome[NDArray[np.int64]]:
    """Return the ids of prompts, or of texts without frames."""
    rows = tokenizer.encode(
        [prompt if isinstance(prompt, Prompt) else Prompt(prompt) for prompt in prompts], truncate=truncate
    )
    return Outcome([row.ids for row in rows.results], rows.failure)
