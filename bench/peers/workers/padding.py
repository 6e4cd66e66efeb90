"""Padded batches, for engines that take no others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from .protocol import Text, Vectors

PAD = 151_643  # <|endoftext|>; the attention mask excludes it

Ids = npt.NDArray[np.int64]


def padded(texts: Sequence[Text]) -> tuple[Ids, Ids]:
    """Pad texts at the end; returns token ids and attention mask, both int64 `[texts, columns]`."""
    ids = np.full((len(texts), max(len(text.ids) for text in texts)), PAD, np.int64)
    mask = np.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text.ids)] = text.ids
        mask[row, : len(text.ids)] = 1
    return ids, mask


def last_token(hidden: npt.NDArray[np.float32], mask: Ids) -> Vectors:
    """Return unit vectors from hidden states `[texts, columns, dimensions]`, at each text's last token."""
    rows = hidden[np.arange(len(mask)), mask.sum(axis=1) - 1]
    vectors: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return vectors


def by_length(texts: Sequence[Text], width: int, run: Callable[[Sequence[Text]], Vectors]) -> Vectors:
    """Run batches of texts of similar length, the longest first; returns the rows in the order of the texts."""
    order = sorted(range(len(texts)), key=lambda index: -len(texts[index].ids))
    rows = np.concatenate([run([texts[i] for i in order[at : at + width]]) for at in range(0, len(order), width)])
    vectors = np.empty_like(rows)
    vectors[order] = rows
    return vectors
