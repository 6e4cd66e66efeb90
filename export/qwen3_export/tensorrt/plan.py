"""Installing a plan: its file, its profiles in its own configuration, and its limits in the padding front's."""

from __future__ import annotations

from pathlib import Path

from tritonclient.grpc.model_config_pb2 import ModelConfig

from ..errors import ExportError
from ..model_directory.manifest import add_to_manifest
from ..model_directory.triton_config import read_config, revise
from .profiles import Limits

PLAN = "1/model.plan"
GRAPH = "1/model.onnx"
_CONFIG = "config.pbtxt"


def check_plan_model(model: Path, limits: Limits) -> None:
    """Make sure that a plan with these limits can be installed in a model directory.

    Raises:
        ExportError: The directory was not exported for TensorRT, or its configuration allows fewer texts per batch.
    """
    if not (model / GRAPH).is_file() or not (model / _CONFIG).is_file():
        raise ExportError(
            f"{model} holds no portable graph; export one with `qwen3-triton export SOURCE --device tensorrt`, and "
            "then give the model whose name ends in _trt"
        )
    config = read_config(model / _CONFIG)
    if config.platform != "tensorrt_plan":
        raise ExportError(f"{model} is not the model that TensorRT runs; give the one whose name ends in _trt")
    if limits.max_batch > config.max_batch_size:
        raise ExportError(
            f"{model / _CONFIG} allows {config.max_batch_size} texts per batch; raise its max_batch_size, or build "
            f"with --max-batch {config.max_batch_size}"
        )


def find_padding_front(model: Path) -> Path:
    """Return the directory of the padding front that calls `model`, which is in the same repository.

    Raises:
        ExportError: There is none.
    """
    for path in sorted(model.resolve().parent.glob(f"[!.]*/{_CONFIG}")):
        if read_config(path).parameters["plan_model"].string_value == model.resolve().name:
            return path.parent
    raise ExportError(f"no model beside {model} calls it; export both again with --force")


def install_plan(model: Path, padding_front: Path, plan: bytes, *, profiles: int, limits: Limits) -> None:
    """Write the plan, and state its profiles and limits in both configurations.

    Args:
        model: The plan's model directory.
        padding_front: The model directory of the padding front.
        plan: From `build_plan`.
        profiles: How many profiles the plan has.
        limits: What the profiles cover.
    """
    _replace(model / PLAN, plan)

    def list_profiles(config: ModelConfig) -> None:
        config.instance_group[0].profile[:] = [str(i) for i in range(profiles)]

    def state_limits(config: ModelConfig) -> None:
        model_tokens = int(read_config(model / _CONFIG).parameters["max_tokens"].string_value)
        config.parameters["max_batch_texts"].string_value = str(limits.max_batch)
        config.parameters["max_batch_slots"].string_value = str(limits.max_slots)
        config.parameters["max_tokens"].string_value = str(min(limits.max_tokens, model_tokens))

    for directory, change in ((model, list_profiles), (padding_front, state_limits)):
        text = revise((directory / _CONFIG).read_text("utf-8"), change)
        _replace(directory / _CONFIG, text.encode())
    add_to_manifest(model, PLAN, _CONFIG)
    add_to_manifest(padding_front, _CONFIG)


def _replace(path: Path, content: bytes) -> None:
    """Write a file so that it is never there in part: other processes see the old content or the new."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.write_bytes(content)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
