"""The names of the tensors of embedding models that take texts, which differ from client to client."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass

_NAMES = re.compile(r"([A-Za-z0-9_.-]+):([A-Za-z0-9_.-]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTensors:
    """The names of an embedding text model's tensors.

    Attributes:
        input: BYTES `[n]`, the texts.
        output: FP32 `[n, dimensions]`, their vectors.
    """

    input: str = "input_text"
    output: str = "embedding"


def tensor_names(text: str) -> TextTensors:
    """Read the names from a command line, `INPUT:OUTPUT`.

    Raises:
        ArgumentTypeError: They are not two names.
    """
    names = _NAMES.fullmatch(text)
    if names is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not INPUT:OUTPUT, the names of two tensors, such as INPUT_TEXT:OUTPUT_EMBEDDINGS"
        )
    return TextTensors(input=names[1], output=names[2])
