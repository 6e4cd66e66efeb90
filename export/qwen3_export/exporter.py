"""Export: a checkpoint becomes a complete Triton model directory, or a version in one, or nothing does."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .checkpoint.checkpoint import Checkpoint, open_checkpoint, read_checkpoint
from .checkpoint.tiny import TINY, write_tiny_checkpoint
from .errors import ExportError
from .kind import MODEL_NAMES, Judgement, Kind, judge
from .model_directory.repository import is_exported
from .model_directory.versions import add_version, check_version
from .packed_directory import FIRST_VERSION, start_directory, write_directory
from .precision import Precision
from .target import Attention, Device, Target, choose_precision, choose_target


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export left.

    Attributes:
        directory: The model directory.
        version: The version in it that was written.
        kind: Embedding or reranker, and why it was taken for that.
        size: Parameters in words, `0.6B`.
        dimensions: Elements of a hidden state, and of an embedding model's vector.
        device: `cpu`, `cuda` or `tensorrt`.
        precision: How products are computed.
        bytes: Size of all files that were written.
    """

    directory: Path
    version: int
    kind: Judgement
    size: str
    dimensions: int
    device: Device
    precision: Precision
    bytes: int


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
    version: int | None = None,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Exported:
    """Write `repository/name` from a Qwen3-Embedding or Qwen3-Reranker checkpoint.

    Args:
        source: A checkpoint folder, a Hugging Face Hub id, or `tiny`.
        repository: Triton's model repository; made if missing.
        name: The model's name in Triton; by its kind `qwen3_embedding` or `qwen3_reranker` if None.
        kind: `embedding` or `reranker`; told from the checkpoint if None.
        device: `cpu`, `cuda` for ONNX Runtime's CUDA provider, or `tensorrt` for a plan and a front before it:
            two models, the plan's being `name` with `_trt`.
        precision: For CPUs `fp32`, the default; `int8`: int8 weights, activations int8 per token; `int8-weight`
            and `int4-weight`: weights in blocks of 32. For CUDA `bf16`, the default, and `fp16`; for TensorRT
            also `fp32`.
        ort_version: The release of ONNX Runtime that will run the graph; 1.27, that of Triton's container 26.07, for
            CUDA if None, and any from 1.23 on for CPUs.
        attention: `paged` or `gqa`, see `Target`; the best that the release has for the device if None.
        revision: Branch, tag or commit on the Hub.
        version: Write this version into a model that is there, beside those that it has; None for a model of its own,
            as version 1.
        force: Replace a model that was exported before, with all its versions; with `version`, that one of them.
        progress: Called with bytes done and bytes in all while weights are written.

    Raises:
        ExportError: It cannot be done; nothing was left behind.
    """
    if name is not None and not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise ExportError(f"{name!r} cannot name a model; use letters, digits, '_', '-' and '.'")
    precision = choose_precision(device, precision)
    target = choose_target(device=device, precision=precision, ort_version=ort_version, attention=attention)
    if model := _model_around(repository):
        raise ExportError(f"{repository} belongs to one model; give --repository {model.parent}")
    with _opened(source, revision) as checkpoint:
        judgement = judge(checkpoint.folder, source=source, asked=kind)
        place = repository / (name or MODEL_NAMES[judgement.kind])
        if device != "tensorrt":
            size = _export_packed(
                checkpoint,
                place,
                judgement.kind,
                precision,
                target=target,
                version=version,
                force=force,
                progress=progress,
            )
        elif version is None:
            size = _export_for_tensorrt(checkpoint, place, judgement.kind, precision, force=force, progress=progress)
        else:
            raise ExportError("--version is for the packed graph; for TensorRT export under another --name")
    geometry = checkpoint.geometry
    return Exported(place, version or FIRST_VERSION, judgement, geometry.size, geometry.hidden, device, precision, size)


def _model_around(folder: Path) -> Path | None:
    """The model directory that a folder is, or is in, such as one of a version."""
    resolved = folder.resolve()
    return next((path for path in (resolved, resolved.parent) if (path / "config.pbtxt").is_file()), None)


@contextmanager
def _opened(source: str, revision: str | None) -> Iterator[Checkpoint]:
    if source != TINY:
        yield open_checkpoint(source, revision=revision)
        return
    if revision is not None:
        raise ExportError(f"--revision is for the Hub, and {TINY} is made on the spot")
    with tempfile.TemporaryDirectory(prefix="qwen3-tiny-") as folder:
        write_tiny_checkpoint(Path(folder))
        yield read_checkpoint(Path(folder), source=TINY)


@contextmanager
def _scratch_beside(place: Path) -> Iterator[Path]:
    """A folder beside `place`, from which finished files move there at once. It vanishes with all that is left."""
    place.parent.mkdir(parents=True, exist_ok=True)
    # Hidden: Triton does not take a folder for a model while it is being written.
    scratch = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _export_packed(
    checkpoint: Checkpoint,
    place: Path,
    kind: Kind,
    precision: Precision,
    *,
    target: Target,
    version: int | None,
    force: bool,
    progress: Callable[[int, int], None] | None,
) -> int:
    """Write a model with the packed graph, or a version in one; returns the size of its files."""
    if version is not None:
        check_version(place, version, force=force)
    elif is_exported(place) and not force:
        raise ExportError(
            f"{place} holds an exported model; --force replaces it, --version writes a version beside it, "
            "--name a model beside it"
        )
    with _scratch_beside(place) as scratch:
        fresh = scratch / "new"
        fresh.mkdir()
        write_directory(
            checkpoint,
            fresh,
            final=place.resolve(),
            version=version,
            kind=kind,
            target=target,
            precision=precision,
            progress=progress,
        )
        size = sum(path.stat().st_size for path in fresh.rglob("*") if path.is_file())
        if version is not None:
            add_version(fresh, place, version, replaced=scratch / "old")
        else:
            if place.exists():
                place.replace(scratch / "old")
            fresh.replace(place)
    return size


def _export_for_tensorrt(
    checkpoint: Checkpoint,
    place: Path,
    kind: Kind,
    precision: Precision,
    *,
    force: bool,
    progress: Callable[[int, int], None] | None,
) -> int:
    """Write the front and, beside it, the model that it calls; returns the size of all their files."""
    try:
        from .tensorrt.directories import write_front, write_plan_model
    except ModuleNotFoundError as error:
        raise ExportError(f"--device tensorrt needs {error.name}: pip install 'qwen3-triton[tensorrt]'") from None
    plan = place.with_name(f"{place.name}_trt")
    for model in (place, plan):
        if is_exported(model) and not force:
            raise ExportError(f"{model} holds an exported model; --force replaces it, --name writes a model beside it")
    with _scratch_beside(place) as scratch:
        front_facts, plan_facts = (
            start_directory(
                checkpoint,
                scratch / model.name,
                final=model.resolve(),
                kind=kind,
                device="tensorrt",
                precision=precision,
            )
            for model in (place, plan)
        )
        write_front(scratch / place.name, kind=kind, parameters=front_facts, plan=plan.name)
        write_plan_model(
            checkpoint, scratch / plan.name, kind=kind, precision=precision, parameters=plan_facts, progress=progress
        )
        size = sum(path.stat().st_size for path in scratch.rglob("*") if path.is_file())
        # The front last: where it is, what it calls is there too.
        for model in (plan, place):
            if model.exists():
                model.replace(scratch / f"old {model.name}")
            (scratch / model.name).replace(model)
    return size
