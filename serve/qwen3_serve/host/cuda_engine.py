"""The engine of the embedded host on a GPU: takes the token ids of texts, returns the graph's outputs for each of them.

Attention on CUDA does not pad, so texts of any lengths share a batch, up to a token budget. Shared prefixes are
computed once, if the graph can do so. This module knows nothing about Triton, drivers or text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .binding import bind_arrays, explained_failure
from .engine import Engine, Results
from .gpu_prefixes import GpuPrefixes
from .numbers import number
from .output_arrays import OutputArrays
from .packed_batches import packed_batches
from .prefix_cache import Ids, Prefix

if TYPE_CHECKING:
    import onnxruntime as ort

_KEPT = "kept"  # the graph's output with the table of the prefix cache
MAX_TEXTS = 256  # of one batch of PagedAttention; releases before 1.26 do not check it and give wrong results


@dataclass(frozen=True, slots=True)
class CudaSettings:
    """How an export for CUDA runs, from the parameters in `configs/embedded.pbtxt`.

    Attributes:
        max_batch_tokens: The token budget: most tokens that one batch computes. A longer text gets a batch of its own.
        gpu: Index of the GPU.
        memory_limit_bytes: Most memory of the GPU that the session may take; None for all.
        prefix_cache_tokens: Number of tokens whose keys and values the prefix cache holds; 0 turns it off.
    """

    max_batch_tokens: int
    gpu: int
    memory_limit_bytes: int | None
    prefix_cache_tokens: int

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> CudaSettings:
        """Read a configuration's parameters.

        Raises:
            ValueError: One is not a number, or too small.
        """
        limited = "gpu_mem_limit" in parameters
        # Configurations of embedding models, and those older than the prefix cache, have no such parameter.
        stated = {"prefix_cache_tokens": "512", **parameters}
        return cls(
            number(parameters, "max_batch_tokens", int, least=1),
            number(parameters, "gpu", int, least=0),
            number(parameters, "gpu_mem_limit", int, least=1) if limited else None,
            number(stated, "prefix_cache_tokens", int, least=0),
        )


class CudaEngine(Engine):
    """A session on an exported graph.

    Args:
        session: The session, from `open_cuda_session`.
        max_batch_tokens: The token budget.
        gpu: Index of the GPU that the session is on.
        prefix_cache_tokens: Number of tokens whose keys and values the prefix cache holds; 0 turns it off.
    """

    def __init__(
        self, session: ort.InferenceSession, *, max_batch_tokens: int, gpu: int = 0, prefix_cache_tokens: int = 0
    ) -> None:
        self._session = session
        self._max_batch_tokens = max_batch_tokens
        self._gpu = gpu
        outputs = session.get_outputs()
        self._outputs = OutputArrays([output for output in outputs if output.name != _KEPT])
        self._shares_prefixes = len(self._outputs.names) < len(outputs) and prefix_cache_tokens > 0
        self._prefixes = GpuPrefixes(tokens=prefix_cache_tokens if self._shares_prefixes else 0)

    def warm_up(self, *, max_tokens: int) -> None:
        """Run the largest batch without prefixes, if there is a prefix cache: Triton's equal texts would share theirs.

        Args:
            max_tokens: Longest text that the model takes, in tokens.

        Raises:
            RuntimeError: ONNX Runtime failed, for example for lack of memory.
        """
        if not self._shares_prefixes:
            return
        size = min(512, max_tokens, self._max_batch_tokens)
        count = min(self._max_batch_tokens // size, MAX_TEXTS)
        self._run([np.zeros(size, np.int64)] * count, [Prefix(0, 0)] * count)

    def fill(self, results: Results, texts: Sequence[Ids]) -> Iterator[Sequence[int]]:
        """See `Engine`."""
        leaders = self._prefixes.choose_leaders(texts, max_texts=MAX_TEXTS, max_tokens=self._max_batch_tokens)
        if leaders:
            batch = [texts[index] for index in leaders]
            outputs = self._run(batch, self._prefixes.of(batch), keep=list(leaders.values()))
            for result, rows in zip(results, outputs, strict=True):
                result[list(leaders)] = rows
            yield list(leaders)
        others = [index for index in range(len(texts)) if index not in leaders]
        prefixes = self._prefixes.of([texts[index] for index in others])
        batches = packed_batches(
            [texts[index].size - prefix.length for index, prefix in zip(others, prefixes, strict=True)],
            [prefix.length for prefix in prefixes],
            max_tokens=self._max_batch_tokens,
            max_slots_per_token=math.inf,
            max_texts=MAX_TEXTS,
        )
        for members in batches:
            indices = [others[member] for member in members]
            outputs = self._run([texts[index] for index in indices], [prefixes[member] for member in members])
            for result, rows in zip(results, outputs, strict=True):
                result[indices] = rows
            yield indices

    def _run(
        self, texts: Sequence[Ids], prefixes: Sequence[Prefix], *, keep: Sequence[int] = ()
    ) -> list[npt.NDArray[Any]]:
        """Run one packed batch.

        Args:
            texts: The texts of the batch.
            prefixes: What the prefix cache has of each.
            keep: For each the number of its first tokens whose rows the cache keeps; empty to keep none.

        Returns:
            The outputs, in the order of the texts.
        """
        own = [ids[prefix.length :] for ids, prefix in zip(texts, prefixes, strict=True)]
        inputs: dict[str, npt.NDArray[np.int64] | npt.NDArray[np.int32]] = {
            "input_ids": np.concatenate(own),
            "lengths": np.array([[ids.size] for ids in own], np.int32),
            **self._prefixes.inputs(prefixes),
            **(self._prefixes.keeping(texts, prefixes, keep) if keep else {}),
        }
        outputs = self._outputs.empty(len(texts))
        binding = self._session.io_binding()
        bind_arrays(binding, inputs=inputs, outputs=dict(zip(self._outputs.names, outputs, strict=True)))
        if self._prefixes.table is not None and (keep or "prefix_lengths" in inputs):
            binding.bind_ortvalue_input("prefix_rows", self._prefixes.table)
        if keep:
            binding.bind_output(_KEPT, "cuda", self._gpu)
        with explained_failure():
            self._session.run_with_iobinding(binding)
        if keep:
            kept = [ids[:length] for ids, length in zip(texts, keep, strict=True)]
            table = binding.get_outputs()[-1]
            # The value keeps its binding alive, and that its inputs: the GPU would hold the last table as well.
            binding.clear_binding_inputs()
            self._prefixes.replace(table, kept, rows=inputs["arrange"].size)
        return outputs
