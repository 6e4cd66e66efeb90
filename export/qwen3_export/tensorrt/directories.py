"""The two model directories of an export for TensorRT: the model of the plan, and the padding front that calls it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

import torch

from ..checkpoint.checkpoint import Checkpoint
from ..checkpoint.reranker_head import read_head
from ..graph.onnx_file import write_model
from ..kind import Kind
from ..model_directory.manifest import source_facts, write_manifest
from ..model_directory.triton_config import Instances, write_config
from ..precision import Precision
from .decoder import build_decoder
from .model import PortableEmbedding, PortableReranker
from .profiles import MAX_BATCH, MAX_SLOTS, MAX_TOKENS
from .trace import trace
from .traced_graph import read_traced

_HERE = Path(__file__).parent
_TEMPLATES = _HERE.parent / "templates" / "tensorrt"
_CPU_SLOTS = 512  # positions of a padded batch on a CPU, few enough for its cache
_TRACERS = ("optimum-onnx", "torch", "transformers")


def write_padding_front(directory: Path, *, kind: Kind, parameters: Mapping[str, str], plan_model: str) -> None:
    """Complete the model directory of the padding front, which clients talk to: configurations, host and manifest.

    Args:
        directory: The directory, in which the tokenizer is already.
        kind: `embedding` or `reranker`.
        parameters: The parameters of the configuration, which tell clients about the model.
        plan_model: The name of the model that the padding front calls.
    """
    outputs = {"embedding": int(parameters["dimensions"])} if kind == "embedding" else {"score": 1, "logit": 1}
    longest = min(int(parameters["max_tokens"]), MAX_TOKENS)
    for file, slots in (("config.pbtxt", MAX_SLOTS), ("configs/embedded.pbtxt", _CPU_SLOTS)):
        limits = {"max_batch_texts": MAX_BATCH, "max_batch_slots": slots, "max_tokens": longest}
        facts = {**parameters, "plan_model": plan_model, **{key: str(value) for key, value in limits.items()}}
        template = _TEMPLATES / f"qwen3_{kind}" / file
        write_config(template, directory / file, outputs=outputs, instances="KIND_CPU", parameters=facts)
    (directory / "1").mkdir()
    _copy_host("padding_front.py", directory / "1", modules=("triton_requests.py", "triton_tensors.py"))
    write_manifest(directory, {"kind": kind, "model_version": 1, **source_facts(parameters)})


def write_plan_model(
    checkpoint: Checkpoint,
    directory: Path,
    *,
    kind: Kind,
    precision: Precision,
    parameters: Mapping[str, str],
    progress: Callable[[int, int], None] | None,
) -> None:
    """Complete the model directory of the plan: portable graph, configurations, stand-in host and manifest.

    Args:
        checkpoint: The weights.
        directory: The directory, in which the tokenizer is already.
        kind: `embedding` or `reranker`.
        precision: `fp32`, `bf16` or `fp16`.
        parameters: The parameters of the configuration, which tell clients about the model.
        progress: Called with the bytes written and the bytes in total while weights are written.

    Raises:
        ExportError: A weight is missing, or the traced graph has operators that TensorRT does not take.
    """
    outputs = {"pooled": checkpoint.geometry.hidden} if kind == "embedding" else {"score": 1, "logit": 1}
    for file in ("config.pbtxt", "configs/tensorrt-ep.pbtxt", "configs/embedded.pbtxt"):
        instances: Instances = "KIND_CPU" if file == "configs/embedded.pbtxt" else "KIND_GPU"
        template = _TEMPLATES / f"qwen3_{kind}_trt" / file
        write_config(template, directory / file, outputs=outputs, instances=instances, parameters=parameters)
    folder = directory / "1"
    folder.mkdir()
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        traced = Path(scratch) / "traced.onnx"
        trace(_model(checkpoint, kind, precision), traced)
        model = read_traced(traced, outputs)
        write_model(model, folder / "model.onnx", progress=progress)
    _copy_host("stand_in.py", folder, modules=("triton_tensors.py",))
    facts = source_facts(parameters)
    tracers = {package: version(package) for package in _TRACERS}
    write_manifest(directory, {"kind": kind, "model_version": 1, **facts, "traced_with": tracers})


def _copy_host(file: str, folder: Path, *, modules: tuple[str, ...]) -> None:
    """Copy a host into a model's version, with the modules that it imports: Triton's container lacks this package."""
    shutil.copyfile(_HERE / "hosts" / file, folder / "model.py")
    for module in modules:
        shutil.copyfile(_HERE.parent / module, folder / module)


def _model(checkpoint: Checkpoint, kind: Kind, precision: Precision) -> PortableEmbedding | PortableReranker:
    decoder = build_decoder(checkpoint, precision)
    if kind == "embedding":
        return PortableEmbedding(decoder).eval()
    head = read_head(checkpoint)
    yes, no = torch.from_numpy(head.yes), torch.from_numpy(head.no)
    return PortableReranker(decoder, yes=yes, no=no).eval()
