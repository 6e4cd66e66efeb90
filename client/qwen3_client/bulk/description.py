"""The description of a file of vectors: which model made them, of which kind of text, and how they are stored.

A .parquet file has it in the metadata of its schema, as JSON, a .npy file in a sidecar. This module also makes the
`arithmetic` of a server, a part of the description. It knows nothing about how files are written.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pyarrow import ArrowException, parquet

from ..contract import ModelInfo
from ..errors import InvalidInputError

METADATA_KEY = b"qwen3_triton"  # in the schema of a .parquet file

# Of several lengths, and long: on a small model, one of two texts is the same to the bit on two kinds of processors.
PROBE = [f"Which numbers does a processor make of one and the same text? {n} äöü 三 " * n for n in range(1, 9)]


class TextEmbedder(Protocol):
    """The method of `Client` that the probe needs."""

    def encode_document(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts, float32 `[n, dimensions]`."""


def description_beside(path: Path) -> Path:
    """Return the path of the description that belongs to a .npy file."""
    return path.with_suffix(".about.json")


def read_description(path: Path) -> dict[str, Any] | None:
    """Return the description of a file of vectors; None if another program wrote it.

    Raises:
        InvalidInputError: the file or its description is damaged.
        OSError: the file cannot be read.
    """
    try:
        if path.suffix == ".npy":
            beside = description_beside(path)
            text = beside.read_bytes() if beside.is_file() else None
        else:
            text = (parquet.read_schema(path).metadata or {}).get(METADATA_KEY)
        found = None if text is None else json.loads(text)
    except (ArrowException, ValueError) as error:
        raise InvalidInputError(f"{path} or its description is damaged: {error}") from None
    if found is not None and not isinstance(found, dict):
        raise InvalidInputError(f"the description of {path} is damaged: it is not a JSON object")
    return found


def as_json(description: Mapping[str, object]) -> str:
    """Return a description in the form in which files hold it."""
    return json.dumps(description, ensure_ascii=False)


def arithmetic_of(client: TextEmbedder, info: ModelInfo) -> str | None:
    """Return a short digest of the bits that the server makes of a few fixed texts.

    Processors of other kinds sum in another order, which changes the last bits of a vector. Where the digest and the
    fingerprint of the model are the same, the server makes the same bits of every text.

    Returns:
        16 hexadecimal digits; None for a model on a GPU, whose bits also depend on which texts are computed together.

    Raises:
        Qwen3ClientError: the request failed.
    """
    if info.device != "cpu":
        return None
    return hashlib.sha256(client.encode_document(PROBE).astype("<f4").tobytes()).hexdigest()[:16]
