"""What an export would write, and why it would be refused, found by the exporter's own code.

The weights are not read: the checkpoint is opened, planned and its graph declared as by `export`, and then the graph's
files are measured instead of written. Of a reranker's head, the two rows that become part of the graph are read. A
checkpoint on the Hub is opened without its weights, of which the headers are enough.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..checkpoint.checkpoint import Checkpoint
from ..checkpoint.json_file import read_object
from ..checkpoint.modules import module_types
from ..errors import ExportError
from ..graph.host_indices import has_host_indices, with_host_indices
from ..graph.onnx_file import file_sizes
from ..kind import MODEL_NAMES, is_classifier
from ..packed_directory import TOKENIZER_FILES, declare_model, declare_ragged, start_directory
from ..plan import Plan, Request, check_device, make_plan, opened
from ..precision import FOR_CUDA, FOR_TENSORRT, PRECISIONS, Precision
from ..target import Device
from .memory import served_bytes

# config.pbtxt in two variants, the manifest and model.py; only the config.pbtxt and the manifest for CUDA.
_OTHER_FILES: dict[Device, int] = {"cpu": 13_000, "cuda": 7_500, "tensorrt": 25_000}
_PRECISIONS: dict[Device, tuple[Precision, ...]] = {
    "cpu": tuple(precision for precision in PRECISIONS if precision not in FOR_CUDA),
    "cuda": FOR_CUDA,
    "tensorrt": FOR_TENSORRT,
}
_BYTES_PER_NUMBER: dict[Precision, int] = {"fp32": 4, "bf16": 2, "fp16": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What one precision would take.

    Attributes:
        device: `cpu`, `cuda` or `tensorrt`.
        precision: The precision.
        disk: Size of the model directory, in bytes; None if its graph cannot be built.
        memory: Memory of the served model, as `served_bytes` estimates it for CPUs, in bytes; on a GPU, its weights.
        refusal: Why the checkpoint cannot be exported with this device and precision; None if it can.
    """

    device: Device
    precision: Precision
    disk: int | None = None
    memory: int | None = None
    refusal: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What an export would write.

    Attributes:
        request: What was asked for.
        plan: The plan of the export; None if the checkpoint cannot be opened.
        parameters: The parameters of the model's configuration, as far as they are known.
        head: The head of a reranker, in words; "" if it is not known.
        files: The precisions of every device; none if there is no plan.
        refusals: Why it would be refused, in sentences; none if it can be exported. `export` raises the first one.
    """

    request: Request
    plan: Plan | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    head: str = ""
    files: tuple[Files, ...] = ()
    refusals: tuple[str, ...] = ()


def inspect_source(request: Request) -> Inspection:
    """Find out what an export would write. Problems of the checkpoint are part of the answer, and not raised."""
    refusals: list[str] = []
    plan: Plan | None = None
    parameters: dict[str, str] = {}
    files: list[Files] = []
    asked, head = None, ""
    with _collected(refusals):
        asked = (request.device, request.chosen()[0])
    with _collected(refusals), opened(request, with_weights=False) as checkpoint:
        plan, reasons = make_plan(checkpoint, request)
        refusals += reasons
        if plan.kind.kind == "reranker":
            head = _head(plan.checkpoint)
        with _collected(refusals):
            parameters = _parameters(plan, request)
        files = [
            _files(plan, device, precision, request)
            for device, precisions in _PRECISIONS.items()
            for precision in precisions
        ]
        refusals += [each.refusal for each in files if each.refusal and (each.device, each.precision) == asked]
    if plan is not None and plan.checkpoint.revision:  # from the Hub; the temporary folder means nothing to users
        folder = str(plan.checkpoint.folder)
        refusals = [reason.replace(folder, request.source) for reason in refusals]
        files = [replace(each, refusal=each.refusal and each.refusal.replace(folder, request.source)) for each in files]
    return Inspection(
        request=request,
        plan=plan,
        parameters=parameters,
        head=head,
        files=tuple(files),
        refusals=tuple(dict.fromkeys(refusals)),
    )


def _parameters(plan: Plan, request: Request) -> dict[str, str]:
    """Return the parameters of the model's configuration.

    Raises:
        ExportError: The tokenizer or the prompts do not fit.
    """
    with tempfile.TemporaryDirectory(prefix="qwen3-inspect-") as folder:
        return start_directory(
            plan.checkpoint,
            Path(folder),
            final=Path(MODEL_NAMES[plan.kind.kind]),
            kind=plan.kind.kind,
            device=request.device,
            precision=request.precision or PRECISIONS[0],
        )


def _head(checkpoint: Checkpoint) -> str:
    if is_classifier(read_object(checkpoint.folder / "config.json")):
        return "score of Qwen3ForSequenceClassification"
    if "LogitScore" in module_types(checkpoint.saved_folder):
        return "LogitScore of modules.json"
    return 'lm_head, "yes" against "no"'


def _files(plan: Plan, device: Device, precision: Precision, request: Request) -> Files:
    checkpoint, kind = plan.checkpoint, plan.kind.kind
    try:
        check_device(checkpoint, kind, device)
        others = _OTHER_FILES[device] + sum(
            (checkpoint.tokenizer_folder / file).stat().st_size
            for file in TOKENIZER_FILES
            if (checkpoint.tokenizer_folder / file).is_file()
        )
        if device == "tensorrt":
            numbers = checkpoint.geometry.parameters - _table(checkpoint)
            weights = numbers * _BYTES_PER_NUMBER[precision] + _table(checkpoint) * 2
            return Files(device=device, precision=precision, disk=weights + others, memory=weights)
        # The release of ONNX Runtime and the attention operator are of the device that was asked for.
        asked = request if device == request.device else Request(source=request.source, device=device)
        _, target = replace(asked, precision=precision).chosen()
        model = declare_model(checkpoint, kind=kind, target=target, precision=precision)
        sizes = file_sizes(model)
        memory = served_bytes(checkpoint.geometry, sizes) if device == "cpu" else sizes.weights
        if kind == "embedding" and has_host_indices(target, pooling=checkpoint.modules.pooling):
            others += file_sizes(with_host_indices(model, geometry=checkpoint.geometry, fingerprint="")).graph
        ragged = declare_ragged(checkpoint, kind=kind, target=target, precision=precision)
        others += sum(file_sizes(graph).graph for graph in ragged.values())
        return Files(device=device, precision=precision, disk=sizes.graph + sizes.weights + others, memory=memory)
    except ExportError as error:
        return Files(device=device, precision=precision, refusal=str(error))


def _table(checkpoint: Checkpoint) -> int:
    return checkpoint.geometry.vocabulary * checkpoint.geometry.hidden


@contextmanager
def _collected(refusals: list[str]) -> Iterator[None]:
    try:
        yield
    except ExportError as error:
        refusals.append(str(error))
