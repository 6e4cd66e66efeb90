"""Export: a checkpoint becomes a complete Triton model directory, or a version in one, or nothing does."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ._arithmetic import Arithmetic
from ._checkpoint import Checkpoint, open_checkpoint, read_checkpoint
from ._equalise import equalise
from ._errors import ExportError
from ._graph import build_graph, weight_bytes, write_model
from ._kind import FAMILIES, MODEL_NAMES, Judgement, Kind, judge
from ._manifest import MANIFEST, SOURCE_FACTS, sha256, write_manifest
from ._precision import QUANTISED, Precision
from ._target import Attention, Device, Target, choose_precision, choose_target
from ._tiny import write_tiny_checkpoint
from ._triton_config import fill_in
from ._versions import add_version, check_fits, check_version, exported_versions
from ._vocabulary import answers, eos_token_id

TINY = "tiny"
_FIRST = 1  # version of a model of its own
# Source: the model cards' default task.
DEFAULT_INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export left.

    Attributes:
        directory: The model directory.
        version: The version in it that was written.
        kind: Embedding or reranker, and why it was taken for that.
        size: Parameters in words, ``0.6B``.
        dimensions: Elements of a hidden state, and of an embedding model's vector.
        device: ``cpu``, ``cuda`` or ``tensorrt``.
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
    """Write ``repository/name`` from a Qwen3-Embedding or Qwen3-Reranker checkpoint.

    Args:
        source: A checkpoint folder, a Hugging Face Hub id, or ``tiny``.
        repository: Triton's model repository; made if missing.
        name: The model's name in Triton; by its kind ``qwen3_embedding`` or ``qwen3_reranker`` if None.
        kind: ``embedding`` or ``reranker``; told from the checkpoint if None.
        device: ``cpu``, ``cuda`` for ONNX Runtime's CUDA provider, or ``tensorrt`` for a plan and a front before it:
            two models, the plan's being ``name`` with ``_trt``.
        precision: For CPUs ``fp32``, the default; ``int8``: int8 weights, activations int8 per token; ``int8-weight``
            and ``int4-weight``: weights in blocks of 32. For CUDA ``bf16``, the default, and ``fp16``; for TensorRT
            also ``fp32``.
        ort_version: The release of ONNX Runtime that will run the graph; 1.27, that of Triton's container 26.07, for
            CUDA if None, and any from 1.23 on for CPUs.
        attention: ``paged`` or ``gqa``, see :class:`Target`; the best that the release has for the device if None.
        revision: Branch, tag or commit on the Hub.
        version: Write this version into a model that is there, beside those that it has; None for a model of its own,
            as version 1.
        force: Replace a model that was exported before, with all its versions; with ``version``, that one of them.
        progress: Called with bytes done and bytes in all while weights are written.

    Raises:
        ExportError: It cannot be done; nothing was left behind.
    """
    if name is not None and not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise ExportError(f"{name!r} cannot name a model; use letters, digits, '_', '-' and '.'")
    precision = choose_precision(device, precision)
    target = choose_target(device=device, precision=precision, ort_version=ort_version, attention=attention)
    with _opened(source, revision) as checkpoint:
        judgement = judge(checkpoint.folder, source=source, asked=kind)
        place = repository / (name or MODEL_NAMES[judgement.kind])
        if target.device == "tensorrt":
            if version is not None:
                raise ExportError("--version is for the packed graph; for TensorRT export under another --name")
            size = _export_for_tensorrt(checkpoint, place, judgement.kind, precision, force=force, progress=progress)
            geometry = checkpoint.geometry
            return Exported(place, _FIRST, judgement, geometry.size, geometry.hidden, device, precision, size)
        if version is not None:
            check_version(place, version, force=force)
        elif _holds_an_export(place) and not force:
            raise ExportError(
                f"{place} holds an exported model; --force replaces it, --version writes a version beside it, "
                "--name a model beside it"
            )
        with _scratch_beside(place) as scratch:
            fresh = scratch / "new"
            fresh.mkdir()
            _write_directory(
                checkpoint,
                fresh,
                final=place.resolve(),
                version=version,
                kind=judgement.kind,
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
    geometry = checkpoint.geometry
    return Exported(place, version or _FIRST, judgement, geometry.size, geometry.hidden, device, precision, size)


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
    """A folder beside ``place``, from which finished files move there at once. It vanishes with all that is left."""
    place.parent.mkdir(parents=True, exist_ok=True)
    # Hidden: Triton does not take a folder for a model while it is being written.
    scratch = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


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
        from .portable._directories import write_front, write_plan_model
    except ModuleNotFoundError as error:
        raise ExportError(f"--device tensorrt needs {error.name}: pip install 'qwen3-triton[tensorrt]'") from None
    plan = place.with_name(f"{place.name}_trt")
    for model in (place, plan):
        if _holds_an_export(model) and not force:
            raise ExportError(f"{model} holds an exported model; --force replaces it, --name writes a model beside it")
    with _scratch_beside(place) as scratch:
        front_facts, plan_facts = (
            _start_directory(
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


def _holds_an_export(model: Path) -> bool:
    return (model / MANIFEST).exists() or bool(exported_versions(model))


def _start_directory(
    checkpoint: Checkpoint, directory: Path, *, final: Path, kind: Kind, device: Device, precision: Precision
) -> dict[str, str]:
    """Copy the tokenizer into a model directory, made if missing; returns what the server will say about the model."""
    directory.mkdir(exist_ok=True)
    for file in _TOKENIZER_FILES:
        if (checkpoint.folder / file).is_file():
            shutil.copyfile(checkpoint.folder / file, directory / file)
    geometry = checkpoint.geometry
    parameters = {
        "model_family": FAMILIES[kind],
        "model_size": TINY if checkpoint.source == TINY else geometry.size,
        "source": checkpoint.source,
        "revision": checkpoint.revision,
        "device": device,
        "precision": precision,
        "max_tokens": str(geometry.max_tokens),
        "vocabulary": str(geometry.vocabulary),
        "tokenizer": checkpoint.tokenizer or str(final),
        "tokenizer_sha256": sha256(directory / "tokenizer.json"),
        "default_instruction": DEFAULT_INSTRUCTION,
    }
    if kind == "embedding":
        parameters |= {"dimensions": str(geometry.hidden), "eos_token_id": str(eos_token_id(checkpoint))}
    return parameters


def _write_directory(
    checkpoint: Checkpoint,
    directory: Path,
    *,
    final: Path,
    version: int | None,
    kind: Kind,
    target: Target,
    precision: Precision,
    progress: Callable[[int, int], None] | None,
) -> None:
    parameters = _start_directory(
        checkpoint, directory, final=final, kind=kind, device=target.device, precision=precision
    )
    weights = equalise(checkpoint) if precision in QUANTISED else checkpoint
    if kind == "embedding":
        outputs = {"embedding": checkpoint.geometry.hidden}
        model = build_graph(weights, Arithmetic(precision), target=target)
    else:
        outputs = {"score": 1, "logit": 1}
        model = build_graph(weights, Arithmetic(precision), answers(checkpoint), target=target)

    if version is not None:
        check_fits(final, parameters)
    folder = directory / str(version or _FIRST)
    folder.mkdir()
    total, done = weight_bytes(model), 0

    def advance(tensor_bytes: int) -> None:
        nonlocal done
        done += tensor_bytes
        if progress is not None:
            progress(done, total)

    write_model(model, folder / "model.onnx", progress=advance)

    templates = _templates()
    gpu = target.device == "cuda"  # for which there is no embedded host
    for file in ("config.pbtxt",) if gpu else ("config.pbtxt", "configs/embedded.pbtxt"):
        # Another version of a model: above the marked line the operator's file stays as it is.
        template = (templates / MODEL_NAMES[kind] if version is None else final) / file
        (directory / file).parent.mkdir(exist_ok=True)
        (directory / file).write_text(
            fill_in(template.read_text("utf-8"), outputs=outputs, gpu=gpu, parameters=parameters), "utf-8"
        )
    if not gpu:  # one host serves both kinds
        shutil.copyfile(templates / MODEL_NAMES["embedding"] / "1" / "model.py", folder / "model.py")
    runtime = {"onnxruntime": target.ort_version, "attention": target.attention}
    facts = {key: parameters[key] for key in SOURCE_FACTS}
    write_manifest(directory, {"kind": kind, "model_version": version or _FIRST, **facts, **runtime})


def _templates() -> Path:
    """The hand-written model repository: inside an installed wheel, or in the checkout beside this package."""
    package = Path(__file__).resolve().parent
    for root in (package, package.parents[1]):
        if (root / "model_repository").is_dir():
            return root / "model_repository"
    raise ExportError("this installation lacks model_repository/; install qwen3-triton again")
