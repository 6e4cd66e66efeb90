"""Operators on rows whose results are known: `operators` checks the library on this processor with them.

Knows nothing about where the library is.
"""

from __future__ import annotations

import base64
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import onnxruntime as ort

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

# An ONNX model with a node of each: QuantizeRows of `x`, QuantizeGated and AddNormQuantize. A test decodes it.
_ROWS = base64.b64decode(
    "CAo6zAMKKwoBeBIJcXVhbnRpemVkEgZzY2FsZXMiDFF1YW50aXplUm93czoFcXdlbjMKQgoEZ2F0ZQoCdXAKC2dhdGVfc2NhbGVzEgVnYXRlZBIMZ2F0"
    "ZWRfc2NhbGVzIg1RdWFudGl6ZUdhdGVkOgVxd2VuMwppCgF4CgZ1cGRhdGUKDXVwZGF0ZV9zY2FsZXMKBGdhaW4SBXRvdGFsEgZub3JtZWQSDW5vcm1l"
    "ZF9zY2FsZXMiD0FkZE5vcm1RdWFudGl6ZSoRCgdlcHNpbG9uFb03hjWgAQE6BXF3ZW4zEgFnWgkKAXgSBAoCCAFaDAoEZ2F0ZRIECgIIAVoKCgJ1cBIE"
    "CgIIAVoTCgtnYXRlX3NjYWxlcxIECgIIAVoOCgZ1cGRhdGUSBAoCCAFaFQoNdXBkYXRlX3NjYWxlcxIECgIIAVoMCgRnYWluEgQKAggBYhEKCXF1YW50"
    "aXplZBIECgIIAmIOCgZzY2FsZXMSBAoCCAFiDQoFZ2F0ZWQSBAoCCAJiFAoMZ2F0ZWRfc2NhbGVzEgQKAggBYg0KBXRvdGFsEgQKAggBYg4KBm5vcm1l"
    "ZBIECgIIAmIVCg1ub3JtZWRfc2NhbGVzEgQKAggBQgQKABAXQgkKBXF3ZW4zEAE="
)
# An ONNX model with two nodes Int8Product, of which the second has row scales, and a GatedProduct, compressed. A test
# decodes it.
_PRODUCT = zlib.decompress(
    base64.b64decode(
        "eNrt2llQm1UYgOGTNND0J23TiBYVNSIqImoUbANSSCOmFKlGi4qINpREqCKkkBZU1F9EjEgVq21xj2tRq+KOe9xxxx33uOPSFnfc+zKJM9bp"
        "9N6Z7+KZzDmTc5L3XH9mrWDFAi1XMzU3tbZoya2BJXX1IS25pbamIdBimxxsbvIvqw1lpMxvDDm98UVB0tLWQGOuVrTlQ5rG7qLEBfE9/xbP"
        "L/zP+ZS6mlAgcXCrlyZNfNGfYZk38bH5pTZDXfZKj1k3mD3WSe7EJWW65+ybXhjbtmDRube88uP2RbXn3/76+E7uuhV3vf3Hrp6TL77vPbV7"
        "WdOqBz8y7XVYy2WPfmre58jWq5740rL/0adf+8w31gOrzrrx+Y2p+Sd03vzyD2lzFodve+2X9Lkn9tz51u/2Q07qvffdvzPnN176wIeTshY0"
        "9z3yyeScI5Zf+fgXKY6jTos8/fX0vGPPvOG5Dds4jz+n/6XvZxbWnLfu1Z93dAUuGHjzt11Kllx0zzt/7VZ6yiWDHxj3LF+65uGPk/f2Lrsi"
        "+rm2X8Wp1zz11bTcyjOuH1pvm13dsfbF77Y7yNd16/BPOxT7u+9449edD66/8O6RPzPmNay8/33DHocGVz8US8o+PHT5Y59N2Xdh29VPjk49"
        "4Jj26579dsas4yRf8iVf8iVf8iVf8iVf8iVf8iVf8iVf8iVf8iVf8iVf8iVf8iVf8iVf8iVf8iVf8iX/f56fvdZo9lgN7sQ4TVmfUSm9UCk1"
        "RykXdEQQRQyqSCkr7HDABS98CEJHGL3oQwT9GMAgohjCMEYQwyjGMA5VrJQJZlhgRSrSkA47MpGFHDiQBycK4UIJSlEOLypQiWr44Ec9GhBE"
        "CG1oh44OdKILYXSjpzh7Xfyl/j2NFH+uWfzt2fw0dEQQRQzKSQLscMAFL3wIQkcYvehDBP0YwCCiGMIwRhDDKMYwDpXPc8EMC6xIRRrSYUcm"
        "spADB/LgRCFcKEEpyuFFBSpRDR/8qEcDggihDe3Q0YFOdCGMbvTkV1niU1w2k2Y0G6tsmw1qTewZFk/X/hkjS2xMS0x1+RPrqVp8oiu+dJs0"
        "ZZ3pnqLFJ7qshk0SYTGh"
    )
)
_SIZE = 75  # neither a multiple of what is loaded nor of what is stored at once
_DEPTH, _COLUMNS = 128, 70  # of the weights: two steps of AMX, and two panels of 64 columns
_GATE_SCALE = 1 / 4096  # brings gates to where their function curves; other scales are those of the products
# Numbers of rows around those that are multiplied together: 6, and 16 and 32 with AMX.
_COUNTS = (*range(1, 14), 16, 17, 31, 32, 33, 48, 49, 65)
_EPS = 1e-6
_MOST = 1e-5  # largest difference of float32 results from float64, for values around 1


def rows_probe() -> bytes:
    """Return the model with the operators that quantize rows, for a session with the library."""
    return _ROWS


def product_probe() -> bytes:
    """Return the model with the products. Only processors with AVX512-VNNI can load it."""
    return _PRODUCT


def check_rows(session: ort.InferenceSession) -> str:
    """Compare quantized rows with what NumPy computes.

    Args:
        session: On `rows_probe()`.

    Returns:
        What is wrong, in words; "" if nothing is.
    """
    random = np.random.default_rng(0)

    def numbers(*shape: int) -> Floats:
        return random.uniform(-4, 4, shape).astype(np.float32)

    x = np.concatenate([numbers(6, _SIZE), np.zeros((1, _SIZE), np.float32)])
    feed = {
        "x": x,
        "gate": numbers(7, _SIZE) * 8,  # exp() of some is far from 1
        "up": numbers(7, _SIZE),
        "gate_scales": np.abs(numbers(7, 1)),
        "update": numbers(7, _SIZE),
        "update_scales": np.abs(numbers(7, 1)),
        "gain": numbers(_SIZE),
    }
    names = ("quantized", "scales", "gated", "gated_scales", "total", "normed", "normed_scales")
    found = dict(zip(names, session.run(names, feed), strict=True))
    quantized, scales = _quantized(x)
    faults = []
    if not (np.array_equal(found["quantized"], quantized) and np.array_equal(found["scales"], scales)):
        faults.append("quantized rows")
    exact = {name: array.astype(np.float64) for name, array in feed.items()}
    gate = exact["gate"] * exact["gate_scales"]
    if not _is_close(found["gated"], found["gated_scales"], gate / (1 + np.exp(-gate)) * exact["up"]):
        faults.append("gated rows")
    total = exact["x"] + exact["update"] * exact["update_scales"]
    normed = total / np.sqrt((total**2).mean(axis=1, keepdims=True) + _EPS) * exact["gain"]
    if not np.abs(found["total"] - total).max() <= _MOST:  # NaN is an error as well
        faults.append("sums of rows")
    if not _is_close(found["normed"], found["normed_scales"], normed):
        faults.append("normalised rows")
    return ", ".join(faults)


def check_products(session: ort.InferenceSession) -> str:
    """Compare products, which are exact, and gated ones with NumPy's.

    Args:
        session: On `product_probe()`.

    Returns:
        What is wrong, in words; "" if nothing is.
    """
    weight = (np.arange(_DEPTH * _COLUMNS) * 37 % 255 - 127).reshape(_DEPTH, _COLUMNS)
    scales = np.arange(1, _COLUMNS + 1, dtype=np.float32) / np.float32(64)
    random = np.random.default_rng(0)
    for count in _COUNTS:
        rows = random.integers(0, 256, (count, _DEPTH)).astype(np.uint8)
        row_scales = random.uniform(0, 1, (count, 1)).astype(np.float32)
        feed = {"rows": rows, "row_scales": row_scales}
        product, scaled, gated = session.run(["product", "scaled", "gated"], feed)
        exact = (rows.astype(np.int64) - 128) @ weight
        expected = exact.astype(np.float32) * scales
        if not (np.array_equal(product, expected) and np.array_equal(scaled, expected * row_scales)):
            return f"products of {count} rows"
        gate = exact * _GATE_SCALE * scales.astype(np.float64) * row_scales
        if not np.allclose(gated, gate / (1 + np.exp(-gate)) * expected, rtol=_MOST, atol=_MOST):
            return f"gated products of {count} rows"
    return ""


def _quantized(x: Floats) -> tuple[npt.NDArray[np.uint8], Floats]:
    """Quantize rows with the same steps and types as the library, so that the bits are the same."""
    scales = np.maximum(np.abs(x).max(axis=1, keepdims=True), np.float32(1e-20)) / np.float32(127)
    return (np.rint(x / scales) + 128).astype(np.uint8), scales


def _is_close(quantized: Array, scales: Floats, expected: npt.NDArray[np.float64]) -> bool:
    """Whether quantized rows are within half a step of the exact ones, and their scales right."""
    scales_are_right = np.allclose(scales[:, 0], np.abs(expected).max(axis=1) / 127, rtol=_MOST, atol=0)
    difference = np.abs((quantized.astype(np.float64) - 128) * scales - expected)
    return bool(scales_are_right and (difference <= 0.501 * scales + _MOST).all())
