"""The engine of the embedded host on a GPU with CUDA graphs: one short text is a single launch instead of hundreds.

It runs `cuda_graphs.onnx`, whose indices are inputs, for all batches. A batch of one text of at most 256 tokens is
padded at its end to the next of a few lengths, which causal attention does not see, and replays the CUDA graph that
ONNX Runtime captured of that length. Other batches run as they are. Knows nothing about Triton, drivers or text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from qwen3_export.onnx_runtime import runtime

from .batch_indices import ON_PROCESSOR, IndexLayout
from .binding import bind_arrays, explained_failure
from .cuda_engine import MAX_TEXTS
from .engine import Engine, Results
from .output_arrays import OutputArrays
from .packed_batches import packed_batches
from .prefix_cache import Ids

if TYPE_CHECKING:
    import onnxruntime as ort

PARAMETER = "cuda_graphs"
GRAPH = "cuda_graphs.onnx"  # beside model.onnx
LENGTHS = (16, 32, 64, 128, 256)  # rows of the captured graphs
_RUNS_TO_CAPTURE = 2  # ONNX Runtime captures in the first one, and replays from then on
_NOT_CAPTURED = "-1"
_FINGERPRINT = "fingerprint"  # the output of model.onnx that names the model; here, metadata of the graph
_LEAST_COSINE = 0.999  # of a replayed vector with the same text computed without CUDA graphs


def wants_cuda_graphs(parameters: Mapping[str, str], version: Path) -> bool:
    """Whether a configuration asks for CUDA graphs.

    Args:
        parameters: The configuration's parameters.
        version: The folder of the model's version.

    Raises:
        ValueError: The parameter is neither `true` nor `false`, or the export has no graph for it.
    """
    wanted = parameters.get(PARAMETER, "false")
    if wanted not in ("true", "false"):
        raise ValueError(f"the parameter {PARAMETER} must be true or false, not {wanted}")
    if wanted == "true" and not (version / GRAPH).is_file():
        raise ValueError(
            f"the parameter {PARAMETER} is true, but {version} has no {GRAPH}: export an embedding model with "
            f"--ort-version 1.29 or newer and without --attention gqa, or set {PARAMETER} to false"
        )
    return wanted == "true"


@dataclass(frozen=True, slots=True)
class _Captured:
    """A length that is captured, with the memory that its CUDA graph reads and writes.

    Attributes:
        ids: INT64 `[rows]`, on the GPU.
        pooled_rows: INT64 `[1]`, on the GPU.
        vector: FP32 `[1, dimensions]`, on the GPU.
        binding: With all inputs, these two among them, and the output.
        options: Name the CUDA graph.
        kept: What the binding refers to.
    """

    ids: ort.OrtValue
    pooled_rows: ort.OrtValue
    vector: ort.OrtValue
    binding: ort.IOBinding
    options: ort.RunOptions
    kept: tuple[object, ...]


class CapturedEngine(Engine):
    """A session on a graph with host indices.

    Args:
        session: The session, from `open_cuda_session` with `cuda_graphs`.
        max_batch_tokens: The token budget: most tokens that one batch computes. A longer text gets a batch of its own.
        gpu: Index of the GPU that the session is on.
        device: Where its memory is, as ONNX Runtime calls it.
    """

    def __init__(
        self, session: ort.InferenceSession, *, max_batch_tokens: int, gpu: int = 0, device: str = "cuda"
    ) -> None:
        self._session = session
        self._max_batch_tokens = max_batch_tokens
        self._memory = (device, gpu)
        self._outputs = OutputArrays(session.get_outputs())
        facts = session.get_modelmeta().custom_metadata_map
        rows, heads, size = map(int, facts["cache_block"].split())
        (bounds,) = (given.shape[0] for given in session.get_inputs() if given.name == "metadata")
        self._layout = IndexLayout((rows, heads, size), bounds)
        self._fingerprint = facts[_FINGERPRINT]  # a number, or ""
        self._captured = {length: self._capture(length) for length in LENGTHS}

    @property
    def outputs(self) -> tuple[str, ...]:
        """See `Engine`."""
        return (*super().outputs, _FINGERPRINT) if self._fingerprint else super().outputs

    def empty(self, texts: int) -> Results:
        """See `Engine`; the fingerprints, which are no output of the graph, are there already."""
        vectors = super().empty(texts)
        if not self._fingerprint:
            return vectors
        return [*vectors, np.full((texts, 1), int(self._fingerprint), np.int64)]

    def fill(self, results: Results, texts: Sequence[Ids]) -> Iterator[Sequence[int]]:
        """See `Engine`."""
        vectors = results[0]
        batches = packed_batches(
            [ids.size for ids in texts],
            max_tokens=self._max_batch_tokens,
            max_slots_per_token=math.inf,
            max_texts=MAX_TEXTS,
        )
        for batch in batches:
            members = [texts[index] for index in batch]
            is_short = len(members) == 1 and members[0].size <= LENGTHS[-1]
            vectors[batch] = self._replay(members[0]) if is_short else self._compute(members)
            yield batch

    def check(self) -> None:
        """Compare replayed vectors with those of the same texts computed without CUDA graphs.

        Raises:
            RuntimeError: They differ by more than rounding.
        """
        for length in LENGTHS:
            ascending = np.arange(1, length, dtype=np.int64) % 97
            for ids in (ascending, ascending[::-1].copy()):  # if replays ignored their input, these would be equal
                one, other = self._replay(ids)[0].astype(np.float64), self._compute([ids])[0].astype(np.float64)
                cosine = (one @ other) / math.sqrt((one @ one) * (other @ other) or math.nan)
                if not cosine >= _LEAST_COSINE:
                    raise RuntimeError(
                        f"CUDA graphs compute something else here: for a text of {ids.size} tokens, the cosine with "
                        f"the vector computed without them is {cosine:.4f}; set the parameter {PARAMETER} in "
                        "configs/embedded.pbtxt to false"
                    )

    def _capture(self, length: int) -> _Captured:
        """Bind memory for one text of a length, and run until ONNX Runtime has captured it."""
        inputs = {"ids": np.zeros(length, np.int64), **self._layout.of([length])}
        binding = self._session.io_binding()
        values = {}
        for name, array in inputs.items():
            if name in ON_PROCESSOR:
                binding.bind_cpu_input(name, array)
            else:
                values[name] = runtime().OrtValue.ortvalue_from_numpy(array, *self._memory)
                binding.bind_ortvalue_input(name, values[name])
        (empty,) = self._outputs.empty(1)
        vector = runtime().OrtValue.ortvalue_from_numpy(empty, *self._memory)
        binding.bind_ortvalue_output(self._outputs.names[0], vector)
        options = _options(str(length))
        for _ in range(_RUNS_TO_CAPTURE):
            self._run_bound(binding, options)
        return _Captured(values["ids"], values["pooled_rows"], vector, binding, options, (*values.values(), inputs))

    def _replay(self, ids: Ids) -> npt.NDArray[np.float32]:
        """Return the vector of one text of at most 256 tokens, `[1, dimensions]`."""
        length = next(length for length in LENGTHS if length >= ids.size)
        captured = self._captured[length]
        padded = np.zeros(length, np.int64)
        padded[: ids.size] = ids
        captured.ids.update_inplace(padded)
        captured.pooled_rows.update_inplace(np.array([ids.size - 1], np.int64))
        self._run_bound(captured.binding, captured.options)
        vector: npt.NDArray[np.float32] = captured.vector.numpy()
        return vector

    def _compute(self, texts: Sequence[Ids]) -> npt.NDArray[np.float32]:
        """Return the vectors of one packed batch, `[len(texts), dimensions]`."""
        (vectors,) = self._outputs.empty(len(texts))
        inputs = {"ids": np.concatenate(texts), **self._layout.of([ids.size for ids in texts])}
        binding = self._session.io_binding()
        bind_arrays(binding, inputs=inputs, outputs={self._outputs.names[0]: vectors})
        self._run_bound(binding, _options(_NOT_CAPTURED))
        return vectors

    def _run_bound(self, binding: ort.IOBinding, options: ort.RunOptions) -> None:
        with explained_failure():
            self._session.run_with_iobinding(binding, options)


def _options(graph: str) -> ort.RunOptions:
    options = runtime().RunOptions()
    options.add_run_config_entry("gpu_graph_id", graph)
    return options
