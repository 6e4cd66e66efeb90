"""JSON responses. orjson writes numpy arrays directly, each number with the fewest digits that read back exactly."""

import base64
import json
import math
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from starlette.responses import Response


def json_response(content: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:  # noqa: ANN401
    """Return a JSON response.

    Args:
        content: Anything that JSON can hold, and numpy arrays, which become lists.
        status: HTTP status.
        headers: Further headers.
    """
    try:
        body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:  # documents that a rerank response returns may hold integers beyond 64 bits, and no arrays
        body = json.dumps(_finite(content), ensure_ascii=False, allow_nan=False).encode()
    return Response(
        body,
        status_code=status,
        headers=headers,
        media_type="application/json",
    )


def _finite(content: Any) -> Any:  # noqa: ANN401
    """Return content with null in place of infinity and NaN, which JSON does not have, as orjson writes them."""
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, dict):
        return {name: _finite(value) for name, value in content.items()}
    return [_finite(value) for value in content] if isinstance(content, list) else content


def base64_rows(vectors: NDArray[Any]) -> list[str]:
    """Return each row's numbers, little-endian, in base64, as OpenAI's `encoding_format` defines it."""
    little = np.ascontiguousarray(vectors, dtype=vectors.dtype.newbyteorder("<"))
    return [base64.b64encode(row.data).decode("ascii") for row in little]
