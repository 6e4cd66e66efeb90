"""Export of a checkpoint: a complete Triton model directory, or a new version in one, appears at once or not at all."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .checkpoint.checkpoint import Checkpoint
from .checkpoint.digest import model_digest
from .errors import ExportError
from .kind import MODEL_NAMES, DetectedKind, Kind
from .model_directory.repository import is_exported, model_around
from .model_directory.versions import add_version, check_version
from .packed_directory import FIRST_VERSION, stamped, start_directory, write_directory
from .plan import Request, make_plan, opened
from .precision import Precision
from .target import Attention, Device, Target


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export has written.

    Attributes:
        directory: The model directory.
        version: The version that was written.
        kind: Embedding model or reranker, and what this was detected from.
        size: The number of parameters, such as `0.6B`.
        dimensions: The size of an embedding model's vectors; the hidden size of a reranker.
        device: `cpu`, `cuda` or `tensorrt`.
        precision: How products are computed.
        bytes: Total size of the files that were written.
        notes: What the user should know, in sentences.
    """

    directory: Path
    version: int
    kind: DetectedKind
    size: str
    dimensions: int
    device: Device
    precision: Precision
    bytes: int
    notes: tuple[str, ...] = ()


def export(
    source: str,
    *,
    repository: Path = Path("model_repository"),
    name: str | None = None,
    kind: Kind | None = None,
    device: Device = "cpu",
    precision: Precision | None = None,
    ort_version: str | None = None,
    attention: Attention | None = None,
    revision: str | None = None,
    adapter: Path | None = None,
    dimensions: str | None = None,
    version: int | None = None,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Exported:
    """Write `repository/name` from a Qwen3-Embedding or Qwen3-Reranker checkpoint.

    Args:
        source: A checkpoint folder, a Hugging Face Hub id, `demo` or `tiny`.
        repository: Triton's model repository; created if it does not exist.
        name: The model's name in Triton; None for `qwen3_embedding` or `qwen3_reranker`, depending on its kind.
        kind: `embedding` or `reranker`; None to detect it from the checkpoint.
        device: `cpu`; `cuda` for ONNX Runtime's CUDA provider; or `tensorrt`, which writes two models: `name_trt` for
            the TensorRT plan, and `name`, the padding front that calls it.
        precision: For CPUs, `fp32` (the default), `int8` (int8 weights, activations int8 per token), or `int8-weight`
            or `int4-weight` (weights in blocks of 32). For CUDA, `bf16` (the default), `bf16-residual` (the residual
            stream is bf16 too) or `fp16`. For TensorRT, `bf16`, `fp16` or `fp32`.
        ort_version: The release of ONNX Runtime that will run the graph, such as `1.27`. None stands for 1.27, the
            release in Triton's container 26.07, with CUDA, and for any release from 1.23 on with CPUs.
        attention: `paged` or `gqa`, see `Target`; None for the best that the release has for the device.
        revision: Branch, tag or commit on the Hub.
        adapter: The folder of a LoRA adapter that PEFT saved, to merge into the checkpoint.
        dimensions: The sizes to which clients may cut the vectors: `fixed`, a range such as `32-1024`, or a list such
            as `256,512`; None for what the checkpoint says.
        version: Write this version into an existing model, beside its other versions; None to write a model with
            version 1.
        force: Replace an existing model with all its versions; together with `version`, replace this version only.
        progress: Called with the bytes written and the bytes in total while weights are written.

    Raises:
        ExportError: The model cannot be exported. Nothing is left behind.
    """
    if name is not None and not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise ExportError(
            f"{name!r} cannot be a model's name; begin with a letter or digit, and use letters, digits, '_', '-' and "
            "'.' only"
        )
    request = Request(
        source=source,
        kind=kind,
        device=device,
        precision=precision,
        ort_version=ort_version,
        attention=attention,
        revision=revision,
        adapter=adapter,
        dimensions=dimensions,
    )
    precision, target = request.chosen()
    if model := model_around(repository):
        raise ExportError(f"{repository} belongs to one model; give --repository {model.parent}")
    with opened(request) as checkpoint:
        plan, refusals = make_plan(checkpoint, request)
        if refusals:
            raise ExportError(refusals[0])
        checkpoint, detected = plan.checkpoint, plan.kind
        size_of_vectors = checkpoint.dimensions if detected.kind == "embedding" else checkpoint.geometry.hidden
        directory = repository / (name or MODEL_NAMES[detected.kind])
        if device != "tensorrt":
            size = _export_packed(
                checkpoint,
                directory,
                detected.kind,
                precision,
                target=target,
                version=version,
                force=force,
                progress=progress,
            )
        elif version is None:
            size = _export_for_tensorrt(checkpoint, directory, detected.kind, precision, force=force, progress=progress)
        else:
            raise ExportError(
                "--version is not supported for TensorRT; leave it out, and export under another name with --name"
            )
    return Exported(
        directory=directory,
        version=version or FIRST_VERSION,
        kind=detected,
        size=checkpoint.geometry.size,
        dimensions=size_of_vectors,
        device=device,
        precision=precision,
        bytes=size,
        notes=plan.notes,
    )


@contextmanager
def _scratch_beside(directory: Path) -> Iterator[Path]:
    """Make a temporary folder on the same file system as `directory`, from which finished files can be moved to it."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    # The name begins with a dot, so that Triton does not take the unfinished folder for a model.
    scratch = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _export_packed(
    checkpoint: Checkpoint,
    directory: Path,
    kind: Kind,
    precision: Precision,
    *,
    target: Target,
    version: int | None,
    force: bool,
    progress: Callable[[int, int], None] | None,
) -> int:
    """Write a model with the packed graph, or a version of one; returns the total size of its files in bytes."""
    if version is not None:
        check_version(directory, version, force=force)
    elif is_exported(directory) and not force:
        raise ExportError(
            f"{directory} holds an exported model; --force replaces it, --version adds a version to it, and --name "
            "writes another model beside it"
        )
    with _scratch_beside(directory) as scratch:
        fresh = scratch / "new"
        fresh.mkdir()
        write_directory(
            checkpoint,
            fresh,
            final=directory.resolve(),
            version=version,
            kind=kind,
            target=target,
            precision=precision,
            progress=progress,
        )
        size = sum(path.stat().st_size for path in fresh.rglob("*") if path.is_file())
        if version is not None:
            add_version(fresh, directory, version, replaced=scratch / "old")
        else:
            if directory.exists():
                directory.replace(scratch / "old")
            fresh.replace(directory)
    return size


def _export_for_tensorrt(
    checkpoint: Checkpoint,
    padding_front: Path,
    kind: Kind,
    precision: Precision,
    *,
    force: bool,
    progress: Callable[[int, int], None] | None,
) -> int:
    """Write the padding front and the plan's model beside it; returns the total size of their files in bytes."""
    try:
        from .tensorrt.directories import write_padding_front, write_plan_model
    except ModuleNotFoundError as error:
        raise ExportError(f"--device tensorrt needs {error.name}: pip install 'qwen3-triton[tensorrt]'") from None
    plan_model = padding_front.with_name(f"{padding_front.name}_trt")
    for model in (padding_front, plan_model):
        if is_exported(model) and not force:
            raise ExportError(
                f"{model} holds an exported model; --force replaces it, and --name writes another model beside it"
            )
    with _scratch_beside(padding_front) as scratch:
        digest = model_digest(checkpoint, kind)
        front_parameters, plan_parameters = (
            stamped(
                start_directory(
                    checkpoint,
                    scratch / model.name,
                    final=model.resolve(),
                    kind=kind,
                    device="tensorrt",
                    precision=precision,
                ),
                digest=digest,
            )
            for model in (padding_front, plan_model)
        )
        write_padding_front(
            scratch / padding_front.name, kind=kind, parameters=front_parameters, plan_model=plan_model.name
        )
        write_plan_model(
            checkpoint,
            scratch / plan_model.name,
            kind=kind,
            precision=precision,
            parameters=plan_parameters,
            progress=progress,
        )
        size = sum(path.stat().st_size for path in scratch.rglob("*") if path.is_file())
        # The padding front is moved last, so that the model which it calls is there before it.
        for model in (plan_model, padding_front):
            if model.exists():
                model.replace(scratch / f"old {model.name}")
            (scratch / model.name).replace(model)
    return size
