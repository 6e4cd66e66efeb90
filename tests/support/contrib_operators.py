"""ONNX Runtime's own operators in numpy, written from their descriptions: they run a CUDA graph where there is no GPU.

Each computes in float32 and rounds its result, and refuses what ONNX Runtime 1.27 refuses. ``calls`` keeps what
PagedAttention was given, for tests that look at it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

Array = npt.NDArray[Any]


class SkipSimplifiedLayerNormalization(OpRun):
    """The sum of two inputs, and its root-mean-square normalisation."""

    op_domain = "com.microsoft"

    def _run(self, x: Array, skip: Array, gain: Array, epsilon: float = 1e-12) -> tuple[Array, Array, Array, Array]:
        assert x.dtype == skip.dtype == gain.dtype
        total = x + skip
        wide = total.astype(np.float32)
        inverse = 1 / np.sqrt(np.mean(np.square(wide), axis=-1, keepdims=True) + epsilon)
        normed = (wide * inverse * gain.astype(np.float32)).astype(x.dtype)
        return normed, np.zeros(1, np.float32), inverse, total


class GroupQueryAttention(OpRun):
    """Attention over a padded batch, without a past."""

    op_domain = "com.microsoft"

    def _run(
        self,
        query: Array,
        key: Array,
        value: Array,
        past_key: None,
        past_value: None,
        seqlens_k: Array,
        width: Array,
        cos: Array,
        sin: Array,
        num_heads: int = 0,
        kv_num_heads: int = 0,
        do_rotary: int = 0,
    ) -> tuple[Array, Array, Array]:
        assert past_key is past_value is None
        assert seqlens_k.dtype == width.dtype == np.int32
        assert do_rotary == 1
        size = query.shape[-1] // num_heads
        output = np.full(query.shape, np.nan, query.dtype)  # a position after a text's end must not be read
        for text, last in enumerate(seqlens_k):
            rows = slice(0, last + 1)
            positions = np.arange(last + 1)
            output[text, rows] = _attention(
                _rotated(query[text, rows].reshape(-1, num_heads, size), cos, sin, positions),
                _rotated(key[text, rows].reshape(-1, kv_num_heads, size), cos, sin, positions),
                value[text, rows].reshape(-1, kv_num_heads, size),
            )
        present = np.zeros((query.shape[0], kv_num_heads, int(width), size), query.dtype)
        return output, present, present


class PagedAttention(OpRun):
    """Attention over packed rows and a paged cache, which it changes in place."""

    op_domain = "com.microsoft"
    calls: ClassVar[list[dict[str, Array]]] = []

    def _run(
        self,
        query: Array,
        key: Array | None,
        value: Array | None,
        key_cache: Array,
        value_cache: Array,
        cumulative_sequence_length: Array,
        past_seqlens: Array,
        block_table: Array,
        cos: Array,
        sin: Array,
        slot_mapping: None = None,
        head_sink: None = None,
        q_gain: Array | None = None,
        k_gain: Array | None = None,
        k_scale: None = None,
        v_scale: None = None,
        metadata: Array | None = None,
        num_heads: int = 0,
        kv_num_heads: int = 0,
        do_rotary: int = 0,
        qk_norm_epsilon: float = 1e-6,
    ) -> tuple[Array]:
        assert slot_mapping is head_sink is None
        assert do_rotary == 1
        for integers in (cumulative_sequence_length, past_seqlens, block_table):
            assert integers.dtype == np.int32
        assert query.dtype == key_cache.dtype == value_cache.dtype == cos.dtype == sin.dtype
        blocks, block_size, _, size = key_cache.shape
        assert block_size % 256 == 0
        assert key_cache.shape == value_cache.shape == (blocks, block_size, kv_num_heads, size)
        assert key_cache is not value_cache
        batch = past_seqlens.size
        assert 1 <= batch <= 256
        assert cumulative_sequence_length.shape == (batch + 1,)
        assert cumulative_sequence_length[-1] == query.shape[0]
        assert block_table.shape[0] == batch
        assert block_table.min() >= 0
        assert block_table.max() < blocks
        if metadata is not None:
            assert metadata.dtype == np.int32
            new = np.diff(cumulative_sequence_length)
            assert metadata.tolist() == [new.max(), *[(new + past_seqlens).max()] * (metadata.size - 1)]
            assert metadata.size in (2, 3)
            assert k_scale is v_scale is None
        self.calls.append({"cumulative": cumulative_sequence_length, "past": past_seqlens, "table": block_table,
                           "cache": np.array(key_cache.shape)})  # fmt: skip

        if key is None:
            assert value is None
            query, key, value = np.split(query, [num_heads * size, (num_heads + kv_num_heads) * size], axis=-1)
        assert value is not None
        q, k, v = (x.reshape(-1, heads, size) for x, heads in
                   ((query, num_heads), (key, kv_num_heads), (value, kv_num_heads)))  # fmt: skip
        if q_gain is not None and k_gain is not None:
            q, k = _normalised(q, q_gain, qk_norm_epsilon), _normalised(k, k_gain, qk_norm_epsilon)
        output = np.empty((q.shape[0], num_heads * size), q.dtype)
        for text, (start, end, past) in enumerate(
            zip(cumulative_sequence_length, cumulative_sequence_length[1:], past_seqlens, strict=False)
        ):
            positions = np.arange(past, past + end - start)
            slots = block_table[text, positions // block_size], positions % block_size
            key_cache[slots] = _rotated(k[start:end], cos, sin, positions)
            value_cache[slots] = v[start:end]
            everything = np.arange(past + end - start)
            slots = block_table[text, everything // block_size], everything % block_size
            output[start:end] = _attention(
                _rotated(q[start:end], cos, sin, positions), key_cache[slots], value_cache[slots]
            )
        return (output,)


class ScaledSiLU(OpRun):
    """`x * sigmoid(x)`; the sigmoid is rounded to the type of the input, as the operator's description says."""

    op_domain = "com.microsoft"

    def _run(self, x: Array, alpha: float = 1.0) -> tuple[Array]:
        assert alpha == 1
        sigmoid = (1 / (1 + np.exp(-x.astype(np.float32)))).astype(x.dtype)
        return ((x.astype(np.float32) * sigmoid.astype(np.float32)).astype(x.dtype),)


class HalfSession:
    """A CUDA graph on the CPU: :class:`support.packed.PackedSession` for what ONNX Runtime's CPU kernels lack."""

    def __init__(self, graph: Path) -> None:
        self._evaluator = ReferenceEvaluator(
            onnx.load(graph),
            new_ops=[GroupQueryAttention, PagedAttention, ScaledSiLU, SkipSimplifiedLayerNormalization],
        )

    def run(self, texts: Sequence[npt.NDArray[np.int64]], **optional: Array) -> dict[str, npt.NDArray[np.float32]]:
        """Run texts as one packed batch, with any of the graph's optional inputs.

        Returns:
            Every output by name but the fingerprint and ``kept``, ``[n, size]``.
        """
        outputs = self.outputs(texts, **optional)
        assert outputs.pop("fingerprint").dtype == np.int64
        outputs.pop("kept", None)
        assert all(row.dtype == np.float32 for row in outputs.values())
        return outputs

    def outputs(self, texts: Sequence[npt.NDArray[np.int64]], **optional: Array) -> dict[str, Array]:
        """Run texts as one packed batch; returns every output by name."""
        lengths = np.array([[ids.size] for ids in texts], np.int32)
        return self.evaluated({"input_ids": np.concatenate(texts), "lengths": lengths, **optional})

    def evaluated(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph on its inputs; returns every output by name."""
        PagedAttention.calls.clear()
        with np.errstate(over="ignore"):  # exp of a large negative gate
            rows = self._evaluator.run(None, dict(feed))
        assert isinstance(rows, list)
        return dict(zip(self._evaluator.output_names, rows, strict=True))


def _normalised(x: Array, gain: Array, eps: float) -> Array:
    wide = x.astype(np.float32)
    normalised: Array = (wide / np.sqrt(np.square(wide).mean(axis=-1, keepdims=True) + eps) * gain).astype(x.dtype)
    return normalised


def _rotated(x: Array, cos: Array, sin: Array, positions: npt.NDArray[np.int64]) -> Array:
    """``x [rows, heads, size]`` turned by each row's position; pairs are the two halves of a head."""
    first, second = np.split(x.astype(np.float32), 2, axis=-1)
    c, s = (table[positions].astype(np.float32)[:, None] for table in (cos, sin))
    turned: Array = np.concatenate([first * c - second * s, second * c + first * s], axis=-1).astype(x.dtype)
    return turned


def _attention(q: Array, k: Array, v: Array) -> Array:
    """Causal attention of one text, ``q [n, heads, size]``, keys and values ``[n, kv_heads, size]``.

    Returns:
        ``[n, heads * size]``.
    """
    wide = [x.astype(np.float32) for x in (q, k, v)]
    group = q.shape[1] // k.shape[1]
    keys, values = (np.repeat(x, group, axis=1) for x in wide[1:])
    scores = np.einsum("qhd,khd->hqk", wide[0], keys) / np.sqrt(q.shape[-1])
    scores += np.triu(np.full(scores.shape[1:], -np.inf, np.float32), k=1 + k.shape[0] - q.shape[0])
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    attended: Array = np.einsum("hqk,khd->qhd", weights, values).reshape(q.shape[0], -1).astype(q.dtype)
    return attended
