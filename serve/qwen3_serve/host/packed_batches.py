"""How texts are divided into packed batches. Knows lengths, and nothing about ids or graphs."""

from __future__ import annotations

from collections.abc import Sequence
from operator import add

_MAX_ATTENTION_RATIO = 4  # cap on (computed + prefix tokens) / max_tokens of one batch


def packed_batches(
    lengths: Sequence[int],
    prefix_lengths: Sequence[int] | None = None,
    *,
    max_tokens: int,
    max_slots_per_token: float,
    max_texts: int | None = None,
) -> list[list[int]]:
    """Divide texts into packed batches of similar lengths.

    Padded attention pads all texts of a batch to the longest, so with one long text among short ones each would cost as
    much as the long one. And small batches run faster on a CPU, because their activations stay in its cache.

    Args:
        lengths: Number of tokens of each text that are computed, at least 1.
        prefix_lengths: Number of tokens of each text's prefix, which take part in attention only; None for no prefixes.
        max_tokens: The token budget: most tokens that one batch computes. A longer text gets a batch of its own.
        max_slots_per_token: Cap on the padded positions (texts x longest text) per token of a batch.
        max_texts: Most texts of a batch; None for any number.

    Returns:
        For each batch the indices of its texts, shorter texts first. Every text is in exactly one batch.
    """
    widths = list(lengths) if prefix_lengths is None else list(map(add, lengths, prefix_lengths))
    batches: list[list[int]] = []
    computed = tokens = 0  # of the last batch; `tokens` includes prefixes
    for index in sorted(range(len(widths)), key=widths.__getitem__):
        width = widths[index]
        computed += lengths[index]
        tokens += width
        # The order is ascending, so this text is the longest so far.
        positions = (len(batches[-1]) + 1) * width if batches else 0
        too_many = computed > max_tokens or tokens > _MAX_ATTENTION_RATIO * max_tokens
        is_full = bool(batches) and len(batches[-1]) == max_texts
        if not batches or is_full or too_many or positions > max_slots_per_token * tokens:
            batches.append([])
            computed, tokens = lengths[index], width
        batches[-1].append(index)
    return batches
