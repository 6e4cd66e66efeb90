"""What an export will write, decided before any weight is read: `export` writes it, `inspect` shows it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from .checkpoint.adapter import merge_adapter, stated_base
from .checkpoint.checkpoint import Checkpoint, open_checkpoint, read_checkpoint
from .checkpoint.demo import DEMO, demo_folder
from .checkpoint.modules import MODULES, PLAIN
from .checkpoint.tiny import TINY, write_tiny_checkpoint
from .checkpoint.trained_sizes import read_mrl
from .errors import ExportError
from .kind import DetectedKind, Kind, detect_kind
from .precision import Precision
from .target import Attention, Device, Target, choose_precision, choose_target


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user asks to export; `export` documents the attributes."""

    source: str
    kind: Kind | None = None
    device: Device = "cpu"
    precision: Precision | None = None
    ort_version: str | None = None
    attention: Attention | None = None
    revision: str | None = None
    adapter: Path | None = None
    dimensions: str | None = None

    def chosen(self) -> tuple[Precision, Target]:
        """Return the precision and where the graph will run, with the device's defaults for what is not asked.

        Raises:
            ExportError: They do not go together.
        """
        precision = choose_precision(self.device, self.precision)
        target = choose_target(
            device=self.device, precision=precision, ort_version=self.ort_version, attention=self.attention
        )
        return precision, target


@dataclass(frozen=True, slots=True)
class Plan:
    """A checkpoint as it will be exported.

    Attributes:
        checkpoint: With its adapter, and with the sizes to which its vectors may be cut.
        kind: Embedding model or reranker, and what this was detected from.
        notes: What the user should know, in sentences.
    """

    checkpoint: Checkpoint
    kind: DetectedKind
    notes: tuple[str, ...]


@contextmanager
def opened(request: Request, *, with_weights: bool = True) -> Iterator[Checkpoint]:
    """Open the checkpoint that the user named.

    Args:
        request: What the user asks for.
        with_weights: Whether the weights will be read, and must be downloaded if they are on the Hub.

    Raises:
        ExportError: There is no such checkpoint, or it cannot be read.
    """
    if request.source in (TINY, DEMO) and request.revision is not None:
        raise ExportError(f"--revision is for checkpoints on the Hub; leave it out for {request.source}")
    if request.source == DEMO:
        if request.kind == "reranker":
            raise ExportError(f"{DEMO} is an embedding model; to try a reranker, name {TINY} with --kind reranker")
        yield read_checkpoint(demo_folder(), source=DEMO)
        return
    with tempfile.TemporaryDirectory(prefix="qwen3-checkpoint-") as folder:
        if request.source != TINY:
            yield open_checkpoint(
                request.source, revision=request.revision, without_weights=None if with_weights else Path(folder)
            )
            return
        write_tiny_checkpoint(Path(folder))
        yield read_checkpoint(Path(folder), source=TINY)


def make_plan(checkpoint: Checkpoint, request: Request) -> tuple[Plan, tuple[str, ...]]:
    """Decide what to export.

    Returns:
        The plan, and the reasons, in sentences, why it cannot be exported; none if it can. Of a plan that cannot be
        exported, the sizes of vectors may be unknown.

    Raises:
        ExportError: There is no plan: the adapter does not fit, or the checkpoint is of no known kind.
    """
    if request.adapter is not None:
        checkpoint = merge_adapter(checkpoint, request.adapter)
    kind = detect_kind(
        checkpoint.folder, source=request.source, asked=request.kind, saved_folder=checkpoint.saved_folder
    )
    refusals = []
    try:
        check_device(checkpoint, kind.kind, request.device)
    except ExportError as error:
        refusals.append(str(error))
    try:
        if kind.kind == "embedding":
            checkpoint = replace(checkpoint, mrl=read_mrl(checkpoint, asked=request.dimensions))
        elif request.dimensions is not None:
            raise ExportError("--dimensions is for embedding models, and this is a reranker; leave it out")
    except ExportError as error:
        refusals.append(str(error))
    note = None if checkpoint.mrl is None else checkpoint.mrl.note()
    notes = (*_notes_on_adapter(request), *([] if note is None else [note]))
    return Plan(checkpoint, kind, notes), tuple(dict.fromkeys(refusals))


def _notes_on_adapter(request: Request) -> tuple[str, ...]:
    base = request.source
    stated = "" if request.adapter is None else stated_base(request.adapter)
    if not stated or stated == base or Path(stated).resolve() == Path(base).resolve():
        return ()
    return (f"the adapter was trained on {stated} and is merged into {base}; make sure that they are the same model",)


def check_device(checkpoint: Checkpoint, kind: Kind, device: Device) -> None:
    """Make sure that a device can run a checkpoint's form of attention, and that it is known how texts are pooled."""
    is_causal = checkpoint.geometry.is_causal
    if not is_causal and device != "cpu":
        raise ExportError(
            f"{checkpoint.folder} has full attention, not causal attention, which --device {device} does not support; "
            "export it for cpu, or use a causal model"
        )
    if device == "tensorrt" and checkpoint.geometry.rope.yarn is not None:
        raise ExportError(
            f"{checkpoint.folder} has positions scaled by yarn, which --device tensorrt does not support; export it "
            "for cpu or cuda"
        )
    if kind != "embedding":
        return
    if "score.weight" in checkpoint.tensors:
        raise ExportError(
            f"{checkpoint.folder} holds score.weight, the head of a classifier, which an embedding model does not use; "
            "add --kind reranker if it is a reranker, and else save the model without its head"
        )
    if not is_causal and not (checkpoint.saved_folder / MODULES).is_file():
        raise ExportError(
            f"{checkpoint.folder} has full attention, but no {MODULES} that says how its tokens are pooled; use the "
            "whole folder that sentence-transformers saved"
        )
    if device == "tensorrt" and checkpoint.modules != PLAIN:
        raise ExportError(
            f"{checkpoint.saved_folder / MODULES} asks for more than last-token pooling and Normalize, which --device "
            "tensorrt does not support; export it for cpu or cuda"
        )
