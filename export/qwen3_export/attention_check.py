"""A small ragged batch whose attention is known: `operators` checks the library on this processor with it.

The batch has what can go wrong: texts of one token, of more than a block of 128 keys, and with a prefix; a row that
belongs to no text; wanted rows and rows to keep; more heads of queries than of keys; heads whose size does not fill
whole registers.
Knows nothing about where the library is.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import onnxruntime as ort

Array = npt.NDArray[Any]

# An ONNX model with four nodes RaggedAttention, compressed: `all_float32` of layer 0; `wanted_float32` and
# `kept_float32` of layer 1, with wanted rows, prefixes and rows to keep; and the same two with bfloat16. A test decodes
# it.
_PROBE = zlib.decompress(
    base64.b64decode(
        "eNrFlL1uwjAUhXFI+LlJCE1LYe7IRlGpxFYeoSNL5BQTIqIkJAbKWFXqc/AU7dTn6loT35RA1Q3UJfI59rWuv2OnBsOvOrwT0BZLlmygPGcb0FY0WDKo"
        "pJwmPIVqwEKPz1IoP0Xik/ohQLba8agY10RJNrJ1GgTONIgo79/eWI/U89jkgXMWcj8Kuzqo7rQ36JS2ROleQJXFqR9EYevz/u1uS0jXAG3G6CTtqLsF"
        "lth35UhD2RliOqAblmT1Q22xZmEfXpRTNA6VNQ05m4AeJ2zqPztJtE7BRIGbNVDme6pzxmK7ISvzU9vGnMX8/AxIgcHHacIzduG5Wee9wd+dkxOm9/rf"
        "6VmYXn5s28ziOz+FQn428cYmcrBVUGpkrGc8UJjIZT8ncOyFwILCLuJBr1kIWDqXB5jQbOTQM10dWz/w0WjkkFG3jviifX3MGX0DeWfKFS0UfhSyBVeU"
        "Hj0l6V/BwZPau8Xrim4bfgUqJ0S7B8FKe6RCqdke1UEG0STf/1VkiA=="
    )
)
_HEADS, _KV_HEADS = 4, 2  # as in the model above
_LENGTHS = (1, 130, 3, 20)  # rows of each text; one more row belongs to none
_PREFIXES = (0, 5, 0, 120)  # tokens of each text's prefix
_PREFIX_STARTS = (0, 7, 0, 10)
_PREFIX_ROWS = 130
_WANTED = (133, 0, 130, 153)
_KEPT = (3, 131)  # rows whose keys and values are returned
_EPS = 1e-6
_HEAD_DIMS = (48, 128)
# Largest differences from float64, of values between -1 and 1. Measured with AVX-512: 5e-7, and 4e-3 in bfloat16.
_MOST_FLOAT32 = 1e-5
_MOST_BFLOAT16 = 2e-2


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the check found.

    Attributes:
        fault: What was wrong, in words; "" if nothing was.
        has_bf16: Whether the library multiplies in bfloat16 here, where a graph allows it.
    """

    fault: str
    has_bf16: bool


def probe() -> bytes:
    """Return the model to check, for a session with the library."""
    return _PROBE


def check_attention(session: ort.InferenceSession) -> Outcome:
    """Compare what the library computes with NumPy's float64.

    Args:
        session: On `probe()`.
    """
    has_bf16, faults = False, []
    for head_dim in _HEAD_DIMS:
        batch = _batch(head_dim)
        outputs = [f"{rows}_{numbers}" for numbers in ("float32", "bfloat16") for rows in ("all", "wanted", "kept")]
        results = dict(zip(outputs, session.run(outputs, batch), strict=True))
        expected = {
            "all": _expected(batch, layer=0, prefix_lengths=(0,) * len(_LENGTHS)),
            "wanted": _expected(batch, layer=1, prefix_lengths=_PREFIXES)[list(_WANTED)],
            "kept": np.concatenate([batch["key"], batch["value"]], axis=1)[list(_KEPT)],
        }
        has_bf16 |= not np.array_equal(results["all_float32"], results["all_bfloat16"])
        for output, result in results.items():
            rows, _, numbers = output.partition("_")
            error = float(np.abs(result - expected[rows]).max())
            most = _MOST_FLOAT32 if numbers == "float32" else _MOST_BFLOAT16
            if not error <= most:  # NaN is an error as well
                faults.append(f"{output} of heads of {head_dim}: {error:.1e} instead of {most:.0e} at most")
    return Outcome(fault="; ".join(faults), has_bf16=has_bf16)


def _batch(head_dim: int) -> dict[str, Array]:
    """Return the inputs of the model, the same numbers every time."""
    random = np.random.default_rng(0)

    def numbers(rows: int, columns: int, *, largest: float = 1) -> npt.NDArray[np.float32]:
        return random.uniform(-largest, largest, (rows, columns)).astype(np.float32)

    rows, key_size = sum(_LENGTHS) + 1, _KV_HEADS * head_dim
    positions = np.arange(max(map(sum, zip(_LENGTHS, _PREFIXES, strict=True))))
    angles = np.outer(positions, 1e4 ** -np.linspace(0, 1, head_dim // 2))
    return {
        "query": numbers(rows, _HEADS * head_dim),
        "key": numbers(rows, key_size),
        "value": numbers(rows, key_size),
        "starts": np.cumsum([0, *_LENGTHS[:-1]], dtype=np.int64)[:, None],
        "lengths": np.array(_LENGTHS, np.int64)[:, None],
        "cos": np.cos(angles).astype(np.float32),
        "sin": np.sin(angles).astype(np.float32),
        "query_gain": numbers(1, head_dim, largest=3)[0],  # so that some keys count more than others
        "key_gain": numbers(1, head_dim, largest=2)[0],
        "wanted": np.array(_WANTED, np.int64),
        "prefix_rows": numbers(_PREFIX_ROWS, 4 * key_size),  # keys and values of two layers
        "prefix_starts": np.array(_PREFIX_STARTS, np.int64)[:, None],
        "prefix_lengths": np.array(_PREFIXES, np.int64)[:, None],
        "keep": np.array(_KEPT, np.int64),
    }


def _expected(batch: Mapping[str, Array], *, layer: int, prefix_lengths: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Compute causal attention within each text in float64, `[rows, heads * head_dim]`."""
    rows, key_size = batch["key"].shape
    head_dim = key_size // _KV_HEADS
    prefix_keys, prefix_values = np.split(batch["prefix_rows"].astype(np.float64), 2 * 2, axis=1)[2 * layer :][:2]
    result = np.zeros((rows, _HEADS * head_dim))
    for text, (length, prefix) in enumerate(zip(_LENGTHS, prefix_lengths, strict=True)):
        own = slice(int(batch["starts"][text, 0]), int(batch["starts"][text, 0]) + length)
        shared = slice(_PREFIX_STARTS[text], _PREFIX_STARTS[text] + prefix)
        query = _rotated(batch, batch["query"][own].astype(np.float64), batch["query_gain"], first=prefix)
        key = _rotated(batch, np.concatenate([prefix_keys[shared], batch["key"][own]]), batch["key_gain"], first=0)
        value = np.concatenate([prefix_values[shared], batch["value"][own]])
        value = value.reshape(-1, _KV_HEADS, head_dim).swapaxes(0, 1)
        key, value = (np.repeat(each, _HEADS // _KV_HEADS, axis=0) for each in (key, value))
        scores = query @ key.swapaxes(1, 2) / np.sqrt(head_dim)  # [heads, length, prefix + length]
        scores += np.triu(np.full(scores.shape[1:], -np.inf), prefix + 1)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        result[own] = (weights @ value).swapaxes(0, 1).reshape(length, -1)
    return result


def _rotated(batch: Mapping[str, Array], x: Array, gain: Array, *, first: int) -> Array:
    """Apply the norm, and the rotary embedding from the position `first` on; returns `[heads, tokens, head_dim]`."""
    x = x.reshape(len(x), -1, gain.size)
    x = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + _EPS) * gain
    cos, sin = (batch[name][first : first + len(x), None] for name in ("cos", "sin"))
    one, other = np.split(x, 2, axis=-1)
    rotated: Array = np.concatenate([one * cos - other * sin, other * cos + one * sin], axis=-1)
    return rotated.swapaxes(0, 1)
