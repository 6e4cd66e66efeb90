"""The engine of the embedded host: token ids of texts in, rows of the graph's outputs out.

It orders the texts by length, cuts them into packed batches that suit a CPU, computes what they share with earlier ones
once, and runs them in ONNX Runtime. By batch invariance nothing of that changes a bit of any row. It knows nothing
about Triton, and nothing about text, tokenizers or pooling.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from operator import add
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from qwen3_export.cpu import open_session

from .prefix_cache import SHORTEST, Ids, Prefix, PrefixCache, Rows, common

_KEPT = "kept"  # the output with rows for later runs
_ATTENTION_CAP = 4  # (computed + prefix tokens) / max_batch_tokens of a batch is at most this
_NO_PREFIX = Prefix(0, 0)
_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, slots=True)
class Settings:
    """How texts are cut into batches, from `configs/embedded.pbtxt`.

    Attributes:
        max_batch_tokens: Most tokens that a batch computes; a longer text makes a batch of its own.
        max_slots_per_token: Most slots of attention's rectangle for each token in it; 1 allows no padding at all.
        prefix_cache_tokens: Tokens whose keys and values are kept for texts that begin alike; 0 keeps none.
    """

    max_batch_tokens: int
    max_slots_per_token: float
    prefix_cache_tokens: int

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> Settings:
        """Read a configuration's parameters.

        Raises:
            ValueError: One is no number, or too small.
        """
        # A configuration that an operator keeps from before there was such a cache does not state its size.
        stated = {"prefix_cache_tokens": "512", **parameters}
        return cls(
            _number(stated, "max_batch_tokens", int, least=1),
            _number(stated, "max_slots_per_token", float, least=1),
            _number(stated, "prefix_cache_tokens", int, least=0),
        )


def _number(parameters: Mapping[str, str], name: str, convert: Callable[[str], _Number], *, least: int) -> _Number:
    stated = parameters.get(name, "")
    with suppress(ValueError):
        value = convert(stated)
        if least <= value < math.inf:
            return value
    raise ValueError(f"the parameter {name} must be a number of at least {least}, not {stated}")


class PackedEngine:
    """A session on an exported graph.

    Args:
        model: The ``model.onnx`` file.
        settings: How to cut batches.
        threads: Of one operator; 0 takes every core.

    Raises:
        ValueError: An earlier release exported it.
    """

    def __init__(self, model: Path, settings: Settings, *, threads: int) -> None:
        self._settings = settings
        self._session = open_session(model, threads=threads)
        self._sizes: dict[str, int] = {output.name: output.shape[1] for output in self._session.get_outputs()}
        if _KEPT not in self._sizes:
            raise ValueError(f"an earlier release of qwen3-triton exported {model}; export the model again")
        self._cache = PrefixCache(tokens=settings.prefix_cache_tokens, size=self._sizes.pop(_KEPT))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what :meth:`run` returns."""
        return tuple(self._sizes)

    def run(self, texts: Sequence[Ids]) -> list[Rows]:
        """Run texts ``[n_i]`` of admissible ids.

        Returns:
            For each output FP32 ``[len(texts), size]``, in the texts' order.
        """
        results = [np.empty((len(texts), size), np.float32) for size in self._sizes.values()]
        leaders = self._choose_leaders(texts)
        # Stored when all leaders have run: new rows replace old ones, which a leader may begin with.
        for ids, rows in self._run(texts, list(leaders), keep=leaders, into=results):
            self._cache.store(ids, rows)
        self._run(texts, [number for number in range(len(texts)) if number not in leaders], keep={}, into=results)
        return results

    def _choose_leaders(self, texts: Sequence[Ids]) -> dict[int, int]:
        """Texts that run before the others, so that these find their beginnings computed.

        Returns:
            The texts' numbers, and how many of their first tokens to keep the rows of: no more than the cache takes.
        """
        leaders: dict[int, int] = {}
        room = self._settings.prefix_cache_tokens
        for number, ids in enumerate(texts if room else ()):
            shared = self._cache.remember(ids)
            if not SHORTEST <= shared <= room:
                continue
            coming = [common(texts[leader][:length], ids) for leader, length in leaders.items()]
            if shared >= max(self._cache.longest(ids).length, *coming, 0) + SHORTEST:
                leaders[number] = shared
                room -= shared
        return leaders

    def _run(
        self, texts: Sequence[Ids], numbers: Sequence[int], *, keep: Mapping[int, int], into: Sequence[Rows]
    ) -> list[tuple[Ids, Rows]]:
        """Run some of the texts in packed batches.

        Args:
            texts: All texts.
            numbers: Of those to run.
            keep: How many of a text's first tokens to keep the rows of, by its number; none if it is not there.
            into: Where results go.

        Returns:
            The first tokens to keep, and their rows.
        """
        prefixes = {number: self._cache.longest(texts[number]) for number in numbers}
        batches = packed_batches(
            [texts[number].size - prefixes[number].length for number in numbers],
            [prefixes[number].length for number in numbers],
            max_tokens=self._settings.max_batch_tokens,
            max_slots_per_token=self._settings.max_slots_per_token,
        )
        kept: list[tuple[Ids, Rows]] = []
        for places in batches:
            batch = [numbers[place] for place in places]
            own = [texts[number][prefixes[number].length :] for number in batch]
            new = {
                number: np.arange(first, first + keep[number] - prefixes[number].length)
                for number, first in zip(batch, _firsts(ids.size for ids in own), strict=True)
                if number in keep
            }
            feed = {
                "input_ids": np.concatenate(own),
                "lengths": np.array([[ids.size] for ids in own], np.int32),
                "keep": np.concatenate([np.zeros(0, np.int64), *new.values()]),
                **self._shared([prefixes[number] for number in batch]),
            }
            *rows, new_rows = self._session.run([*self._sizes, _KEPT], feed)
            for all_rows, own_rows in zip(into, rows, strict=True):
                all_rows[batch] = own_rows
            for number, first in zip(new, _firsts(part.size for part in new.values()), strict=True):
                before = self._cache.rows_of(prefixes[number])
                after = new_rows[first : first + new[number].size]
                kept.append((texts[number][: keep[number]], np.concatenate([before, after])))
        return kept

    def _shared(self, prefixes: Sequence[Prefix]) -> dict[str, npt.NDArray[np.generic]]:
        """The graph's inputs for what a batch's texts begin with."""
        longest: dict[int, Prefix] = {}  # by the first row, where one entry of the cache begins
        for prefix in prefixes:
            if prefix.length > longest.get(prefix.start, _NO_PREFIX).length:
                longest[prefix.start] = prefix
        if not longest:
            return {}
        rows = [self._cache.rows_of(prefix) for prefix in longest.values()]
        first_of = dict(zip(longest, _firsts(part.shape[0] for part in rows), strict=True))
        return {
            "prefix_rows": rows[0] if len(rows) == 1 else np.concatenate(rows),
            "prefix_starts": np.array([[first_of.get(prefix.start, 0)] for prefix in prefixes], np.int64),
            "prefix_lengths": np.array([[prefix.length] for prefix in prefixes], np.int64),
        }


def _firsts(sizes: Iterable[int]) -> list[int]:
    """Where each of several parts begins when they lie end to end."""
    return list(accumulate(sizes, initial=0))[:-1]


def packed_batches(
    lengths: Sequence[int],
    prefix_lengths: Sequence[int] | None = None,
    *,
    max_tokens: int,
    max_slots_per_token: float,
) -> list[list[int]]:
    """Cut texts into packed batches of like lengths.

    Attention computes a rectangle as wide as the longest text of its batch, so one long text among short ones would
    cost as much as if all were long; and small batches, whose activations stay in the cache, run faster on a CPU.

    Args:
        lengths: Tokens of each text that are computed, at least 1.
        prefix_lengths: Tokens of each text's prefix, which take part in attention only; none have any if None.
        max_tokens: See :class:`Settings`.
        max_slots_per_token: See :class:`Settings`.

    Returns:
        For each batch the places of its texts, shorter texts first. Every text is in exactly one batch.
    """
    widths = list(lengths) if prefix_lengths is None else list(map(add, lengths, prefix_lengths))
    batches: list[list[int]] = []
    rows = tokens = 0
    for place in sorted(range(len(widths)), key=widths.__getitem__):
        width = widths[place]
        rows += lengths[place]
        tokens += width
        # Texts come in ascending order: this one is the longest so far.
        slots = (len(batches[-1]) + 1) * width if batches else 0
        too_many = rows > max_tokens or tokens > _ATTENTION_CAP * max_tokens
        if not batches or too_many or slots > max_slots_per_token * tokens:
            batches.append([])
            rows, tokens = lengths[place], width
        batches[-1].append(place)
    return batches
