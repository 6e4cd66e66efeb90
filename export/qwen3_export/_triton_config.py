"""The Triton configuration of an export: the hand-written file above a marked line, this export's facts below it.

Keeping the upper part as text keeps its comments for whoever operates the server.
"""

from collections.abc import Mapping

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from ._errors import ExportError

_MARK = "# ---- Below this line `qwen3-triton export` writes"


def fill_in(template: str, *, outputs: Mapping[str, int], gpu: bool, parameters: Mapping[str, str]) -> str:
    """Return the config.pbtxt of one export.

    Args:
        template: A hand-written config.pbtxt that holds the marked line.
        outputs: The size of each output tensor, FP32 ``[size]``.
        gpu: Whether the model runs on a GPU.
        parameters: What the server says about itself, all as strings.

    Raises:
        ExportError: The template has no marked line, or does not parse as Triton's ModelConfig.
    """
    hand_written, mark, below = template.partition(_MARK)
    if not mark:
        raise ExportError(f"the config template has no line starting with {_MARK!r}")
    marked_line = mark + below.partition("\n")[0]
    facts = ModelConfig()
    facts.instance_group.add(count=1, kind="KIND_GPU" if gpu else "KIND_CPU")
    for name, size in outputs.items():
        facts.output.add(name=name, data_type="TYPE_FP32", dims=[size])
    for key, value in parameters.items():
        facts.parameters[key].string_value = value
    text = f"{hand_written}{marked_line}\n\n{text_format.MessageToString(facts, as_utf8=True)}"
    try:
        text_format.Parse(text, ModelConfig())
    except text_format.ParseError as error:
        raise ExportError(f"the filled-in config is not a Triton model configuration: {error}") from None
    return text
