"""The Triton configuration of an export: the hand-written file above a marked line, this export's facts below it.

Keeping the upper part as text keeps its comments for the server's operator.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from ..errors import ExportError

_MARK = "# ---- Below this line `qwen3-triton export` writes"


def write_config(
    template: Path, target: Path, *, outputs: Mapping[str, int], gpu: bool, parameters: Mapping[str, str]
) -> None:
    """Write the config.pbtxt of one export.

    Args:
        template: A hand-written config.pbtxt that holds the marked line.
        target: Where the file goes; its folder is made if missing.
        outputs: The size of each output tensor, FP32 `[size]`.
        gpu: Whether the model runs on a GPU.
        parameters: What the server says about itself, all as strings.

    Raises:
        ExportError: The template has no marked line, or does not parse as Triton's ModelConfig.
    """
    upper, _ = _cut(template.read_text("utf-8"))
    facts = ModelConfig()
    facts.instance_group.add(count=1, kind="KIND_GPU" if gpu else "KIND_CPU")
    for name, size in outputs.items():
        facts.output.add(name=name, data_type="TYPE_FP32", dims=[size])
    for key, value in parameters.items():
        facts.parameters[key].string_value = value
    text = _joined(upper, facts)
    target.parent.mkdir(exist_ok=True)
    target.write_text(text, "utf-8")


def revise(text: str, change: Callable[[ModelConfig], None]) -> str:
    """Return a config.pbtxt whose facts, below the marked line, have been changed; the rest is the operator's.

    Args:
        text: A config.pbtxt from `write_config`.
        change: Given the facts alone, it alters them in place.

    Raises:
        ExportError: The text has no marked line, or what is below it does not parse.
    """
    upper, lower = _cut(text)
    facts = _parsed(lower)
    change(facts)
    return _joined(upper, facts)


def read_config(path: Path) -> ModelConfig:
    """Read a whole config.pbtxt.

    Raises:
        ExportError: It cannot be read, or does not parse.
    """
    try:
        return _parsed(path.read_text("utf-8"))
    except (OSError, ExportError) as error:
        raise ExportError(f"{path}: {error}; export the model again with --force") from None


def _cut(text: str) -> tuple[str, str]:
    """A config's hand-written part with the marked line, and what is below."""
    hand_written, mark, below = text.partition(_MARK)
    if not mark:
        raise ExportError(f"the config has no line starting with {_MARK!r}")
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
