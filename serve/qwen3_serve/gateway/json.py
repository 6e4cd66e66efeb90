"""Answers as JSON. Vectors go from numpy to text in compiled code, each number the shortest that reads back as it."""

import base64
import json
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from starlette.responses import Response

__all__ = ["base64_rows", "json_response"]


def json_response(content: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:  # noqa: ANN401
    """Returns an answer.

    Args:
        content: what JSON can hold, and numpy arrays, which become lists.
        status: HTTP's.
        headers: further headers.
    """
    try:
        body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:  # a document that is given back may hold a whole number beyond 64 bits; no vector is beside it
        body = json.dumps(content, ensure_ascii=False).encode()
    return Response(
        body,
        status_code=status,
        headers=headers,
        media_type="application/json",
    )


def base64_rows(vectors: NDArray[Any]) -> list[str]:
    """Returns each row's numbers, little-endian, in base64, as OpenAI's `encoding_format` has it."""
    little = np.ascontiguousarray(vectors, dtype=vectors.dtype.newbyteorder("<"))
    return [base64.b64encode(row.data).decode("ascii") for row in little]
