"""The tensor contract, and what a served model says about itself.

Triton answers a request for a model's config with the tensors' names and types and a map of string
`parameters`. This module checks the first and reads the second; it knows nothing about how they travelled.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from ._errors import ContractMismatchError

__all__ = [
    "DEFAULT_MODEL",
    "INPUT_NAME",
    "INPUT_TYPE",
    "MIN_DIMENSIONS",
    "OUTPUT_NAME",
    "OUTPUT_TYPE",
    "ModelInfo",
]

DEFAULT_MODEL = "qwen3_embedding"
INPUT_NAME = "input_ids"  # [n]: the token ids of one text, ending with eos_token_id, never padded
INPUT_TYPE = "INT64"
OUTPUT_NAME = "embedding"  # [dimensions]: unit norm
OUTPUT_TYPE = "FP32"
MIN_DIMENSIONS = 32  # the smallest cut that the model cards of Qwen3-Embedding allow


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What a served model says about itself.

    Attributes:
        source: checkpoint that it was exported from, a Hub id or a folder.
        revision: commit of the checkpoint; "" when unknown.
        model_family: such as "qwen3-embedding".
        model_size: such as "0.6B".
        precision: such as "fp32" or "int8".
        dimensions: length of the vectors that the server gives.
        max_tokens: most tokens in one text, the final end-of-text token included.
        tokenizer: Hub id or folder that holds the tokenizer.json.
        tokenizer_sha256: sha256 of the bytes of the tokenizer.json, 64 lower-case hexadecimal digits.
        eos_token_id: the token that ends every text.
        default_instruction: the task named in queries when the caller names none.
    """

    source: str
    revision: str
    model_family: str
    model_size: str
    precision: str
    dimensions: int
    max_tokens: int
    tokenizer: str
    tokenizer_sha256: str
    eos_token_id: int
    default_instruction: str

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "ModelInfo":
        """Checks a Triton model config against the contract and reads its parameters.

        Args:
            config: the config as JSON, with the names of Triton's `model_config.proto`.

        Raises:
            ContractMismatchError: a tensor or a parameter is missing, or not what the contract says.
        """
        model = str(config.get("name", "?"))
        output = _check_tensors(config, model=model)
        parameters: Mapping[str, Any] = config.get("parameters") or {}

        def text(key: str) -> str:
            value = parameters.get(key)
            if not isinstance(value, Mapping):
                _refuse(model, f"its config has no parameter {key!r}")
            # Over gRPC, JSON leaves out a string that is empty.
            return str(value.get("string_value", ""))

        def word(key: str) -> str:
            return text(key) or _refuse(model, f"parameter {key!r} is empty")

        def number(key: str, *, least: int) -> int:
            value = text(key)
            if not re.fullmatch(r"[0-9]{1,18}", value) or int(value) < least:
                _refuse(model, f"parameter {key!r} is {value!r}, not a whole number of at least {least}")
            return int(value)

        info = cls(
            source=word("source"),
            revision=text("revision"),
            model_family=word("model_family"),
            model_size=word("model_size"),
            precision=word("precision"),
            dimensions=number("dimensions", least=1),
            max_tokens=number("max_tokens", least=1),
            tokenizer=word("tokenizer"),
            tokenizer_sha256=word("tokenizer_sha256").lower(),
            eos_token_id=number("eos_token_id", least=0),
            default_instruction=word("default_instruction"),
        )
        if not re.fullmatch(r"[0-9a-f]{64}", info.tokenizer_sha256):
            _refuse(model, f"parameter 'tokenizer_sha256' is {info.tokenizer_sha256!r}, not a sha256")
        shape = [int(size) for size in output.get("dims", [])]
        if shape != [info.dimensions]:
            _refuse(model, f"its output has shape {shape}, but its parameter 'dimensions' says {info.dimensions}")
        return info


def _check_tensors(config: Mapping[str, Any], *, model: str) -> Mapping[str, Any]:
    """Returns the config's entry for the output, once both tensors have the right name and type."""
    inputs: list[Mapping[str, Any]] = config.get("input") or []
    outputs: list[Mapping[str, Any]] = config.get("output") or []
    needed = [_signature(tensor) for tensor in inputs if not tensor.get("optional")]
    if needed != [f"{INPUT_NAME} {INPUT_TYPE}"]:
        _refuse(model, f"it takes [{', '.join(needed)}], not [{INPUT_NAME} {INPUT_TYPE}]")
    for tensor in outputs:
        if _signature(tensor) == f"{OUTPUT_NAME} {OUTPUT_TYPE}":
            return tensor
    given = ", ".join(_signature(tensor) for tensor in outputs)
    return _refuse(model, f"it gives [{given}], not [{OUTPUT_NAME} {OUTPUT_TYPE}]")


def _signature(tensor: Mapping[str, Any]) -> str:
    return f"{tensor.get('name', '?')} {str(tensor.get('data_type', '?')).removeprefix('TYPE_')}"


def _refuse(model: str, reason: str) -> NoReturn:
    raise ContractMismatchError(
        f"the served model {model!r} is not one that this client works with: {reason}; "
        "export it again with `qwen3-triton export`, or name another with model="
    )
