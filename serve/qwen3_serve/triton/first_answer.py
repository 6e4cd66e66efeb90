"""The first answer: a model counts as ready once it has given one that matches its configuration.

Triton reports a model as ready even if it answers with empty tensors, because it never looks into them. This module
knows the names and shapes in a configuration, and nothing about how a request is sent.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from ..errors import ServeError

_TOKENS = 2
_NORM_TOLERANCE = 1e-3


def first_request(config: Mapping[str, Any]) -> bytes:
    """Return the body of an inference request of the v2 protocol with one short text for a model.

    Args:
        config: The model's configuration, in Triton's JSON.
    """
    return json.dumps({"inputs": [_input(tensor) for tensor in config["input"]]}).encode()


def check_first_answer(config: Mapping[str, Any], status: int, body: bytes) -> None:
    """Compare the response to `first_request` with the model's configuration.

    Args:
        config: The model's configuration, in Triton's JSON.
        status: The HTTP status of the response.
        body: Its body.

    Raises:
        ServeError: The response is an error, or it does not match the configuration.
    """
    found = _difference(config, status, body)
    if found is not None:
        raise ServeError(
            f"{config['name']} was loaded, but its answer does not match its configuration: {found}. Export it again "
            "with --force: exports of earlier releases do not work with numpy 2"
        )


def _input(tensor: Mapping[str, Any]) -> dict[str, Any]:
    if tensor["data_type"] == "TYPE_STRING":  # of a text model
        return {"name": tensor["name"], "datatype": "BYTES", "shape": [1], "data": ["a"]}
    # The id 1 is in every vocabulary; and an attention mask, which the model of a TensorRT plan takes, is ones too.
    datatype = tensor["data_type"].removeprefix("TYPE_")
    return {"name": tensor["name"], "datatype": datatype, "shape": [1, _TOKENS], "data": [1] * _TOKENS}


def _difference(config: Mapping[str, Any], status: int, body: bytes) -> str | None:
    """Return how an answer differs from the configuration; None if it does not."""
    excerpt = body[:300].decode(errors="replace")
    if status != 200:
        return f"HTTP {status}, {excerpt}"
    try:
        outputs = {output["name"]: output for output in json.loads(body)["outputs"]}
    except (ValueError, KeyError, TypeError):
        return f"this is no inference response: {excerpt}"
    for tensor in config["output"]:
        name, shape = tensor["name"], _shape(tensor)
        output = outputs.get(name, {})
        values = output.get("data", [])
        if output.get("shape") != shape or len(values) != math.prod(shape):
            return f"{name} should have the shape {shape}, and has {output.get('shape')} with {len(values)} numbers"
        if not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
            return f"{name} holds a value that is not finite"
        norm = math.hypot(*values)
        if name == "embedding" and _is_normalized(config) and abs(norm - 1) > _NORM_TOLERANCE:
            return f"{name} should have norm 1, and has {norm:.6g}"
    return None


def _shape(tensor: Mapping[str, Any]) -> list[int]:
    """Return the shape of an output for one text; a text model states the number of texts as -1."""
    sizes = [int(size) for size in tensor["dims"]]
    return [1, *sizes[1:]] if sizes[0] == -1 else [1, *sizes]


def _is_normalized(config: Mapping[str, Any]) -> bool:
    """Whether a model's vectors have norm 1, which an export states only if they do not."""
    stated = config.get("parameters", {}).get("normalized", {})
    return bool(stated.get("string_value", "true") == "true")
