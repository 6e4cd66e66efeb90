"""A LoRA adapter, as PEFT saves it: merged into a checkpoint's matrices while they are read.

A matrix becomes `W + scale * B @ A`, in float32, stripe by stripe; neither the merged matrix nor the product is held.
Only what PEFT would compute exactly so is read. Every field of adapter_config.json is used, known to change nothing
after training, or refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ExportError
from .checkpoint import ADAPTER_CONFIG, Checkpoint, read_geometry
from .json_file import read_object, read_object_if_there
from .modules import MODULES
from .sentence_config import MODEL_CONFIG, check_tokenizer_config
from .stored_tensor import StoredTensor, read_index

WEIGHTS = "adapter_model.safetensors"

_USED = {
    "peft_type",
    "base_model_name_or_path",
    "r",
    "lora_alpha",
    "use_rslora",
    "rank_pattern",
    "alpha_pattern",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "init_lora_weights",
}
# How the adapter was trained or begun, and what PEFT knows of the program that saved it.
_WITHOUT_EFFECT = {
    "auto_mapping",
    "ensure_weight_tying",
    "eva_config",
    "inference_mode",
    "lora_dropout",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
}
# The other ways to begin (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA) change the base model's weights too.
_BEGINNINGS = (None, True, False, "gaussian", "eva", "orthogonal")
_OFF: tuple[object, ...] = (None, False, "none", "", [], {})

_PROJECTION = re.compile(r"layers\.(\d+)\.(?:self_attn\.[qkvo]_proj|mlp\.(?:gate|up|down)_proj)")
_TENSOR = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")
_INSTEAD = "merge it with PEFT's merge_and_unload(), save the result, and export that instead"


@dataclass(frozen=True, slots=True)
class MergedTensor(StoredTensor):
    """A stored matrix and the update of an adapter, added when it is read.

    Attributes:
        base: The base model's matrix, `[out, in]`.
        down: The adapter's A, `[rank, in]`.
        up: The adapter's B, `[out, rank]`.
        scale: The factor of the update.
    """

    base: StoredTensor
    down: StoredTensor
    up: StoredTensor
    scale: float

    def map(self) -> npt.NDArray[np.generic]:
        """Return the merged matrix, float32, in memory."""
        return np.concatenate([stripe for _, stripe in self.stripes()])

    def stripes(self) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
        """Read the merged matrix by stripes, as `StoredTensor.stripes` does."""
        down = self.down.values().astype(np.float32)
        up = self.up.values()
        for rows, stripe in self.base.stripes():
            stripe += np.float32(self.scale) * (up[rows].astype(np.float32) @ down)
            self.check_finite(stripe)  # two finite matrices have an infinite product if training diverged
            yield rows, stripe


def merge_adapter(checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    """Return a checkpoint whose matrices are merged with an adapter's when they are read.

    Args:
        checkpoint: The base model.
        folder: The folder with adapter_config.json and adapter_model.safetensors.

    Raises:
        ExportError: It is not an adapter, not a plain LoRA one, or not one of this model.
    """
    config = _read_config(folder)
    halves, root = _read_halves(folder)
    targets = {
        name: f"{root}{name}"
        for name in (tensor.removesuffix(".weight") for tensor in checkpoint.tensors)
        if _PROJECTION.fullmatch(name) and _is_target(config, f"{root}{name}")
    }
    if surplus := halves.keys() - targets.keys():
        raise ExportError(
            f"{folder / WEIGHTS} adapts {_some(surplus)}, which {ADAPTER_CONFIG} or the base model does not have; "
            "use the adapter and the base model that belong together"
        )
    tensors = dict(checkpoint.tensors)
    for name, module in targets.items():
        base = tensors[f"{name}.weight"]
        if set(halves.get(name, {})) != {"A", "B"}:
            raise ExportError(f"{folder / WEIGHTS} lacks an update of {module}; save or copy the adapter again")
        down, up = halves[name]["A"], halves[name]["B"]
        rank = _of_module(config, "rank_pattern", module, config["r"])
        if (down.shape, up.shape) != ((rank, base.shape[1]), (base.shape[0], rank)):
            raise ExportError(
                f"the update of {module} has the shapes {list(down.shape)} and {list(up.shape)}, but rank {rank} and "
                f"the base model's {list(base.shape)} need {[rank, base.shape[1]]} and {[base.shape[0], rank]}; use "
                "the base model that the adapter was trained on"
            )
        alpha = _of_module(config, "alpha_pattern", module, config["lora_alpha"])
        scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
        tensors[f"{name}.weight"] = MergedTensor(
            base.name, base.path, np.dtype(np.float32), base.shape, base.offset, base, down, up, scale
        )
    merged = replace(checkpoint, tensors=tensors, adapter=folder.resolve())
    return _with_settings_of(folder, merged)


def _with_settings_of(folder: Path, merged: Checkpoint) -> Checkpoint:
    """Return a checkpoint with the tokenizer and the longest text that an adapter was trained with.

    sentence-transformers saves an adapter with all of a model's modules, settings and prompts, and PEFT's users often
    save the tokenizer with it.

    Raises:
        ExportError: The folder holds a part of what sentence-transformers saves, or whole weights.
    """
    if (folder / MODEL_CONFIG).is_file() and not (folder / MODULES).is_file():
        raise ExportError(
            f"{folder} holds {MODEL_CONFIG} without {MODULES}; copy the whole folder that sentence-transformers saved"
        )
    if any(folder.glob("model*.safetensors")):
        raise ExportError(
            f"{folder} holds whole weights beside the adapter; move the adapter's files into a folder of their own, or "
            "export the whole weights without --adapter if the adapter is merged into them"
        )
    if merged.saved_folder != merged.folder:
        merged = replace(merged, geometry=read_geometry(merged.folder, limits=merged.saved_folder))
    if merged.tokenizer_folder != merged.folder:
        check_tokenizer_config(merged.tokenizer_folder)
        merged = replace(merged, tokenizer="")  # clients cannot fetch it from the base model's repository
    return merged


def stated_base(folder: Path) -> str:
    """Return the base model that an adapter names, a Hub id or a folder; "" if it names none."""
    return str(read_object_if_there(folder / ADAPTER_CONFIG).get("base_model_name_or_path") or "")


def _read_config(folder: Path) -> dict[str, Any]:
    """Read adapter_config.json, and refuse what is more than a plain LoRA adapter."""
    path = folder / ADAPTER_CONFIG
    if not path.is_file():
        raise ExportError(f"{path} is missing; name a folder in which PEFT saved a LoRA adapter")
    config = read_object(path)
    if config.get("peft_type") != "LORA":
        raise ExportError(f"{path} is of a {config.get('peft_type')!r} adapter; only LORA can be merged")
    for field, value in config.items():
        if field not in _USED | _WITHOUT_EFFECT and value not in _OFF:
            raise ExportError(f"{path} has {field} = {value!r}, which is not plain LoRA; {_INSTEAD}")
    if config.get("init_lora_weights") not in _BEGINNINGS:
        raise ExportError(
            f"{path} has init_lora_weights = {config['init_lora_weights']!r}, which changed the base model too; "
            f"{_INSTEAD}"
        )
    if config.get("layers_pattern") not in (*_OFF, "layers", ["layers"]):
        raise ExportError(f"{path} has layers_pattern = {config['layers_pattern']!r}; Qwen3's layers are called layers")
    if not isinstance(config.get("target_modules"), str | list):
        raise ExportError(f"{path} names no target_modules; save the adapter with PEFT again")
    for field in ("r", "lora_alpha"):
        if not isinstance(config.get(field), int | float) or config[field] <= 0:
            raise ExportError(f"{path} has {field} = {config.get(field)!r}, not a positive number")
    for field, form in (("rank_pattern", int), ("alpha_pattern", int | float)):
        patterns = config.get(field) or {}
        if not isinstance(patterns, dict) or not all(
            isinstance(value, form) and value > 0 for value in patterns.values()
        ):
            raise ExportError(f"{path} has {field} = {patterns!r}, which does not give positive numbers to modules")
        for pattern in patterns:
            _check_pattern(path, field, pattern)
    for field in ("target_modules", "exclude_modules"):
        names = config.get(field) or []
        if isinstance(names, str):
            _check_pattern(path, field, names)
        elif not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ExportError(f"{path} has {field} = {names!r}, which are not names of modules")
    return config


def _check_pattern(path: Path, field: str, pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ExportError(f"{path} has {pattern!r} in {field}, which is no regular expression: {error}") from None


def _read_halves(folder: Path) -> tuple[dict[str, dict[str, StoredTensor]], str]:
    """Read the list of an adapter's tensors.

    Returns:
        For each adapted matrix, by the name that checkpoints give it, its A and B; and what PEFT put before these
        names, `model.` for a model with a head, else nothing.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        raise ExportError(f"{path} is missing; save the adapter with PEFT again, as safetensors")
    halves: dict[str, dict[str, StoredTensor]] = {}
    roots = set()
    for name, stored in read_index(path).items():
        match = _TENSOR.fullmatch(name)
        module = match.group(1).removeprefix("model.") if match else ""
        if match is None or not _PROJECTION.fullmatch(module):
            raise ExportError(
                f"{path} holds {name}; only updates of the layers' projections (q, k, v, o, gate, up, down) can be "
                f"merged, so {_INSTEAD}"
            )
        roots.add("model." if match.group(1) != module else "")
        halves.setdefault(module, {})[match.group(2)] = stored
    if len(roots) != 1:
        raise ExportError(f"{path} holds no updates, or of several models; save the adapter with PEFT again")
    return halves, roots.pop()


def _is_target(config: Mapping[str, Any], module: str) -> bool:
    """Say whether PEFT adapts a module, by the rules of its `check_target_module_exists`."""
    targets = config["target_modules"]
    if _matches(config.get("exclude_modules"), module):
        return False
    if isinstance(targets, str):
        return targets == "all-linear" or _matches(targets, module)
    layers = config.get("layers_to_transform")
    layer = int(module.partition("layers.")[2].partition(".")[0])
    return _matches(targets, module) and (
        layers in (None, []) or layer in (layers if isinstance(layers, list) else [layers])
    )


def _matches(names: object, module: str) -> bool:
    if isinstance(names, str):
        return re.fullmatch(names, module) is not None
    return any(module == name or module.endswith(f".{name}") for name in names or ())  # type: ignore[attr-defined]


def _of_module(config: Mapping[str, Any], patterns: str, module: str, default: Any) -> Any:  # noqa: ANN401 - a number
    """Return what the first pattern that fits a module says, as PEFT's `get_pattern_key` finds it."""
    for pattern, value in (config.get(patterns) or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default


def _some(names: set[str]) -> str:
    first = sorted(names)[:3]
    return ", ".join(first) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
