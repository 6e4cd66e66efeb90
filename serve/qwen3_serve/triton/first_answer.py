"""The first answer: a model counts as ready when it gave one, and it was what its configuration says.

Triton calls a model ready that gives empty tensors, because it never looks into one. This module knows the names and
shapes of a configuration, and nothing about how a request travels.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ServeError

_TOKENS = 2
_NORM_TOLERANCE = 1e-3


def check_first_answer(config: Mapping[str, Any], infer: Callable[[bytes], tuple[int, bytes]]) -> None:
    """Ask a model about one short text and compare the answer with its configuration.

    Args:
        config: The model's configuration, as Triton gives it in JSON.
        infer: Sends an inference request of the v2 protocol; returns the status and the body of the answer.

    Raises:
        ServeError: The answer is none, or another than the configuration says.
    """
    status, body = infer(_request(config))
    found = _difference(config, status, body)
    if found is not None:
        raise ServeError(
            f"{config['name']} was loaded, but does not answer as it should: {found}. Export it again with --force: "
            "exports of earlier releases do not work with numpy 2"
        )


def _request(config: Mapping[str, Any]) -> bytes:
    # The token 1 in every vocabulary; and for an attention mask, ones are right as well.
    inputs = [
        {
            "name": tensor["name"],
            "datatype": tensor["data_type"].removeprefix("TYPE_"),
            "shape": [1, _TOKENS],
            "data": [1] * _TOKENS,
        }
        for tensor in config["input"]
    ]
    return json.dumps({"inputs": inputs}).encode()


def _difference(config: Mapping[str, Any], status: int, body: bytes) -> str | None:
    """How an answer differs from what it should be; None if it does not."""
    said = body[:300].decode(errors="replace")
    if status != 200:
        return f"HTTP {status}, {said}"
    try:
        outputs = {output["name"]: output for output in json.loads(body)["outputs"]}
    except (ValueError, KeyError, TypeError):
        return f"this is no answer: {said}"
    for tensor in config["output"]:
        name, shape = tensor["name"], [1, *(int(size) for size in tensor["dims"])]
        output = outputs.get(name, {})
        values = output.get("data", [])
        if output.get("shape") != shape or len(values) != math.prod(shape):
            return f"{name} should have the shape {shape}, and has {output.get('shape')} with {len(values)} numbers"
        if not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
            return f"{name} holds what is no finite number"
        norm = math.hypot(*values)
        if name == "embedding" and abs(norm - 1) > _NORM_TOLERANCE:
            return f"{name} should have norm 1, and has {norm:.6g}"
    return None
