"""Padded batches, for engines that know no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ._protocol import Text, Vectors

__all__ = ["PAD", "by_length", "last_token", "padded"]

PAD = 151_643  # <|endoftext|>; whatever stands there is masked

Ids = npt.NDArray[np.int64]


def padded(texts: Sequence[Text]) -> tuple[Ids, Ids]:
    """Token ids and attention mask, both int64 `[texts, longest]`, padded at the end."""
    ids = np.full((len(texts), max(len(text.ids) for text in texts)), PAD, np.int64)
    mask = np.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text.ids)] = text.ids
        mask[row, : len(text.ids)] = 1
    return ids, mask


def last_token(hidden: npt.NDArray[np.float32], mask: Ids) -> Vectors:
    """Unit vectors from hidden states `[texts, longest, dimensions]` at each text's last token."""
    rows = hidden[np.arange(len(mask)), mask.sum(axis=1) - 1]
    vectors: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return vectors


def by_length(texts: Sequence[Text], width: int, run: Callable[[Sequence[Text]], Vectors]) -> Vectors:
    """Run batches of texts of like length, the longest first, and put the rows back in order."""
    order = sorted(range(len(texts)), key=lambda place: -len(texts[place].ids))
    rows = np.concatenate([run([texts[i] for i in order[at : at + width]]) for at in range(0, len(order), width)])
    vectors = np.empty_like(rows)
    vectors[order] = rows
    return vectors
