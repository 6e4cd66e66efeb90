"""The Triton configuration of an export: a hand-written part above a marked line, and this export's facts below it.

The upper part is copied as text, so that its comments are kept for the server's operator.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from google.protobuf import text_format
from qwen3_client.fingerprint import OUTPUT_NAME
from tritonclient.grpc.model_config_pb2 import ModelConfig

from ..errors import ExportError

Instances = Literal["KIND_CPU", "KIND_GPU", "KIND_MODEL"]

_MARK = "# ---- Below this line `qwen3-triton export` writes"


def write_config(
    template: Path,
    path: Path,
    *,
    outputs: Mapping[str, int],
    names_fingerprint: bool = False,
    instances: Instances,
    parameters: Mapping[str, str],
) -> None:
    """Write the config.pbtxt of one export.

    Args:
        template: A hand-written config.pbtxt that holds the marked line.
        path: The file to write; its folder is created if it does not exist.
        outputs: The size of each output tensor, FP32 `[size]`.
        names_fingerprint: Whether there is also the output `fingerprint` INT64 `[1]`, which names the model.
        instances: What the model's instances run on. `KIND_MODEL` leaves it to the model.
        parameters: The configuration's parameters, which tell clients about the model.

    Raises:
        ExportError: The template has no marked line, or does not parse as Triton's ModelConfig.
    """
    upper, _ = _split(template.read_text("utf-8"))
    facts = ModelConfig()
    facts.instance_group.add(count=1, kind=instances)
    for name, size in outputs.items():
        facts.output.add(name=name, data_type="TYPE_FP32", dims=[size])
    if names_fingerprint:
        facts.output.add(name=OUTPUT_NAME, data_type="TYPE_INT64", dims=[1])
    for key, value in parameters.items():
        facts.parameters[key].string_value = value
    text = _joined(upper, facts)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, "utf-8")


def revise(text: str, change: Callable[[ModelConfig], None]) -> str:
    """Change the facts below the marked line of a config.pbtxt; what is above it stays as it is.

    Args:
        text: The content of a config.pbtxt from `write_config`.
        change: Called with the facts, which it changes in place.

    Returns:
        The new content.

    Raises:
        ExportError: The text has no marked line, or what is below it does not parse.
    """
    upper, lower = _split(text)
    facts = _parsed(lower)
    change(facts)
    return _joined(upper, facts)


def read_config(path: Path) -> ModelConfig:
    """Read a config.pbtxt, both parts.

    Raises:
        ExportError: It cannot be read, or does not parse.
    """
    try:
        return _parsed(path.read_text("utf-8"))
    except (OSError, ExportError) as error:
        raise ExportError(f"{path}: {error}; export the model again with --force") from None


def _split(text: str) -> tuple[str, str]:
    """Return the hand-written part including the marked line, and what is below it."""
    hand_written, mark, below = text.partition(_MARK)
    if not mark:
        raise ExportError(
            f"the configuration has no line that starts with {_MARK!r}; put it back, or export the model again with "
            "--force"
        )
    rest_of_line, _, lower = below.partition("\n")
    return hand_written + mark + rest_of_line, lower


def _joined(upper: str, facts: ModelConfig) -> str:
    text = f"{upper}\n\n{text_format.MessageToString(facts, as_utf8=True)}"
    _parsed(text)
    return text


def _parsed(text: str) -> ModelConfig:
    try:
        return text_format.Parse(text, ModelConfig())
    except text_format.ParseError as error:
        raise ExportError(f"this is not a Triton model configuration: {error}") from None
