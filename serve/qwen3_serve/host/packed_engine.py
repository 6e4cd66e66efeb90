"""The engine of the embedded host: takes the token ids of texts, returns the graph's outputs for each of them.

It orders the texts by length, divides them into packed batches that suit a CPU, computes shared prefixes once, and runs
the batches in ONNX Runtime. Because the graph is batch-invariant, none of this changes a bit of any output. This module
knows nothing about Triton, and nothing about text, tokenizers or pooling.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt
from qwen3_export.cpu import describe_attention, is_ragged, open_session

from .engine import Engine, Results
from .numbers import number
from .output_arrays import OutputArrays
from .packed_batches import packed_batches
from .prefix_cache import Ids, Prefix, PrefixCache, Rows

_KEPT = "kept"  # the graph's output with the rows for the prefix cache
_NO_PREFIX = Prefix(0, 0)


@dataclass(frozen=True, slots=True)
class Settings:
    """How texts are divided into batches, from the parameters in `configs/embedded.pbtxt`.

    Attributes:
        max_batch_tokens: The token budget: most tokens that one batch computes. A longer text gets a batch of its own.
        max_slots_per_token: Cap on the padded positions (texts x longest text) per token of a batch; 1 allows only
            texts of equal length together. Without effect where attention is ragged, because nothing is padded there.
        prefix_cache_tokens: Number of tokens whose keys and values the prefix cache holds; 0 turns it off.
    """

    max_batch_tokens: int
    max_slots_per_token: float
    prefix_cache_tokens: int

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> Settings:
        """Read a configuration's parameters.

        Raises:
            ValueError: One is not a number, or too small.
        """
        # A configuration that is older than the prefix cache has no such parameter.
        stated = {"prefix_cache_tokens": "512", **parameters}
        return cls(
            number(stated, "max_batch_tokens", int, least=1),
            number(stated, "max_slots_per_token", float, least=1),
            number(stated, "prefix_cache_tokens", int, least=0),
        )


class PackedEngine(Engine):
    """A session on an exported graph.

    Args:
        model: The `model.onnx` file.
        settings: How to form batches.
        threads: Threads of one operator; 0 for all cores.
        portable: Run the graph that any ONNX Runtime runs, see `open_session`.

    Attributes:
        attention: Which attention runs, and why, in words.

    Raises:
        ValueError: The model was exported by an earlier release.
    """

    def __init__(self, model: Path, settings: Settings, *, threads: int, portable: bool = False) -> None:
        self._settings = settings
        self._session = open_session(model, threads=threads, portable=portable)
        self._max_slots_per_token = math.inf if is_ragged(self._session) else settings.max_slots_per_token
        self.attention = describe_attention(self._session, model)
        kept = [output for output in self._session.get_outputs() if output.name == _KEPT]
        self._outputs = OutputArrays([output for output in self._session.get_outputs() if output.name != _KEPT])
        self._shares_prefixes = bool(kept)
        if not self._shares_prefixes:
            # In some models, a prefix depends on what follows it, or is pooled itself. Their graphs say so.
            if self._session.get_modelmeta().custom_metadata_map.get("shared_prefixes") != "none":
                raise ValueError(f"an earlier release of qwen3-triton exported {model}; export the model again")
            self._settings = replace(settings, prefix_cache_tokens=0)
        self._cache = PrefixCache(tokens=self._settings.prefix_cache_tokens, size=kept[0].shape[1] if kept else 0)

    def fill(self, results: Results, texts: Sequence[Ids]) -> Iterator[Sequence[int]]:
        """See `Engine`."""
        leaders = self._cache.choose_leaders(texts)
        # Stored only after all leaders have run: new rows replace old ones, which another leader may need.
        for ids, rows in (yield from self._fill(results, texts, list(leaders), keep=leaders)):
            self._cache.store(ids, rows)
        yield from self._fill(results, texts, [index for index in range(len(texts)) if index not in leaders], keep={})

    def _fill(
        self, results: Results, texts: Sequence[Ids], indices: Sequence[int], *, keep: Mapping[int, int]
    ) -> Generator[Sequence[int], None, list[tuple[Ids, Rows]]]:
        """Run some of the texts in packed batches.

        Args:
            results: The arrays for the outputs of all texts.
            texts: All texts.
            indices: The indices of the texts to run.
            keep: By the index of a text, the number of its first tokens whose rows are kept; none if it is missing.

        Yields:
            The indices of each packed batch's texts.

        Returns:
            The token ids whose rows are kept, and these rows, for each text in `keep`.
        """
        prefixes = {index: self._cache.longest(texts[index]) for index in indices}
        batches = packed_batches(
            [texts[index].size - prefixes[index].length for index in indices],
            [prefixes[index].length for index in indices],
            max_tokens=self._settings.max_batch_tokens,
            max_slots_per_token=self._max_slots_per_token,
        )
        kept: list[tuple[Ids, Rows]] = []
        for members in batches:
            batch = [indices[member] for member in members]
            own = [texts[index][prefixes[index].length :] for index in batch]  # without the prefix
            new = {
                index: np.arange(start, start + keep[index] - prefixes[index].length)
                for index, start in zip(batch, _starts(ids.size for ids in own), strict=True)
                if index in keep
            }
            feed = {
                "input_ids": np.concatenate(own),
                "lengths": np.array([[ids.size] for ids in own], np.int32),
            }
            if self._shares_prefixes:
                feed["keep"] = np.concatenate([np.zeros(0, np.int64), *new.values()])
                feed |= self._prefix_inputs([prefixes[index] for index in batch])
                *outputs, new_rows = self._session.run([*self._outputs.names, _KEPT], feed)
            else:
                outputs = self._session.run([*self._outputs.names], feed)
            for result, output in zip(results, outputs, strict=True):
                result[batch] = output
            for index, start in zip(new, _starts(rows.size for rows in new.values()), strict=True):
                before = self._cache.rows_of(prefixes[index])
                after = new_rows[start : start + new[index].size]
                kept.append((texts[index][: keep[index]], np.concatenate([before, after])))
            yield batch
        return kept

    def _prefix_inputs(self, prefixes: Sequence[Prefix]) -> dict[str, npt.NDArray[np.generic]]:
        """Return the graph's inputs for the prefixes of a batch's texts; nothing if no text has one."""
        longest: dict[int, Prefix] = {}  # by the first row: prefixes that start at one row are parts of one entry
        for prefix in prefixes:
            if prefix.length > longest.get(prefix.start, _NO_PREFIX).length:
                longest[prefix.start] = prefix
        if not longest:
            return {}
        rows = [self._cache.rows_of(prefix) for prefix in longest.values()]
        start_of = dict(zip(longest, _starts(part.shape[0] for part in rows), strict=True))
        return {
            "prefix_rows": rows[0] if len(rows) == 1 else np.concatenate(rows),
            "prefix_starts": np.array([[start_of.get(prefix.start, 0)] for prefix in prefixes], np.int64),
            "prefix_lengths": np.array([[prefix.length] for prefix in prefixes], np.int64),
        }


def _starts(sizes: Iterable[int]) -> list[int]:
    """Return the start of each part when parts of these sizes follow one another."""
    return list(accumulate(sizes, initial=0))[:-1]
