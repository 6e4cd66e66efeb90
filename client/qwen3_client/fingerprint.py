"""The fingerprint of a model: a short name of the space that its vectors, or a reranker's scores, are in.

Vectors can be compared only if one model made them. Two models that have the same fingerprint have the same weights,
tokenizer, prompts, pooling and precision, so their vectors differ by rounding at most, as processors and batch
schedules do. The formula, which `docs/contract.md` states for clients in other languages, is here and nowhere else.

It is computed from the parameters that the server states, and not copied from them: where an operator changes a prompt
in config.pbtxt, the fingerprint changes with it. This module knows nothing about how the parameters got here.
"""

import hashlib
import json
import re
from collections.abc import Mapping

VERSION = 1  # raised when exports of the same checkpoint begin to give other vectors, by more than rounding
DIGITS = 16  # hexadecimal; 64 bits are enough to tell apart the models that one user ever has

# The parameters that decide the numbers. `model_sha256` is the export's digest of the weights and of what is computed
# with them. `max_tokens` is not among them: it decides how much of a long text is read, not how. Nor are the source
# and the device.
PARAMETERS = (
    "model_sha256",
    "precision",
    "tokenizer_sha256",
    "eos_token_id",
    "default_instruction",
    "query_prompt",
    "document_prompt",
    "prompt_template",
)

# The output with which each answer names the space that it is in: int64 `[batch, 1]`, the number of `as_number`.
OUTPUT_NAME = "fingerprint"

# Where an operator has Triton serve an older version, whose configuration is that of the newest one.
EARLIER = "earlier_fingerprints"

_FINGERPRINT = re.compile(rf"[0-9a-f]{{{DIGITS}}}")


def fingerprint_of(parameters: Mapping[str, str]) -> str | None:
    """Return the fingerprint of a model.

    It is the first 16 hexadecimal digits of the SHA-256 of a JSON object in UTF-8, with its keys sorted and without
    spaces: each of `PARAMETERS` that the model states, and `version`, the number `VERSION`.

    Args:
        parameters: the parameters of the model's configuration.

    Returns:
        The fingerprint; None for a model that was exported before there were fingerprints.
    """
    if not parameters.get("model_sha256"):
        return None
    parts: dict[str, object] = {key: parameters[key] for key in PARAMETERS if key in parameters}
    text = json.dumps({**parts, "version": VERSION}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def as_number(fingerprint: str) -> int:
    """Return a fingerprint as the number that answers hold: its 64 bits, read as a signed integer."""
    return int.from_bytes(bytes.fromhex(fingerprint), "big", signed=True)


def from_number(number: int) -> str:
    """Return the fingerprint that an answer holds as a number, from -2**63 to 2**63 - 1."""
    return number.to_bytes(DIGITS // 2, "big", signed=True).hex()


def is_fingerprint(text: str) -> bool:
    """Return whether a text has the form of a fingerprint."""
    return _FINGERPRINT.fullmatch(text) is not None
