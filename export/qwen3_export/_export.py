"""Export: a checkpoint becomes a complete Triton model directory, or nothing does."""

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
from ._manifest import sha256, write_manifest
from ._precision import QUANTISED, Precision
from ._target import Attention, Device, Target, choose_precision, choose_target
from ._tiny import write_tiny_checkpoint
from ._triton_config import fill_in
from ._vocabulary import answers, eos_token_id

TINY = "tiny"
# Source: the model cards' default task.
DEFAULT_INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export left.

    Attributes:
        directory: The model directory.
        kind: Embedding or reranker, and why it was taken for that.
        size: Parameters in words, ``0.6B``.
        dimensions: Elements of a hidden state, and of an embedding model's vector.
        device: ``cpu`` or ``cuda``.
        precision: How products are computed.
        bytes: Size of all its files.
    """

    directory: Path
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
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Exported:
    """Write ``repository/name`` from a Qwen3-Embedding or Qwen3-Reranker checkpoint.

    Args:
        source: A checkpoint folder, a Hugging Face Hub id, or ``tiny``.
        repository: Triton's model repository; made if missing.
        name: The model's name in Triton; by its kind ``qwen3_embedding`` or ``qwen3_reranker`` if None.
        kind: ``embedding`` or ``reranker``; told from the checkpoint if None.
        device: ``cpu``, or ``cuda`` for ONNX Runtime's CUDA provider.
        precision: For CPUs ``fp32``, the default; ``int8``: int8 weights, activations int8 per token; ``int8-weight``
            and ``int4-weight``: weights in blocks of 32. For CUDA ``bf16``, the default, and ``fp16``.
        ort_version: The release of ONNX Runtime that will run the graph; 1.27, that of Triton's container 26.07, for
            CUDA if None, and any from 1.23 on for CPUs.
        attention: ``paged`` or ``gqa``, see :class:`Target`; the best that the release has for the device if None.
        revision: Branch, tag or commit on the Hub.
        force: Replace a model that was exported before.
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
        if (place / "1" / "model.onnx").exists() and not force:
            raise ExportError(f"{place} holds an exported model; --force replaces it, --name writes beside it")
        with _whole_or_not_at_all(place) as directory:
            _write_directory(
                checkpoint,
                directory,
                final=place.resolve(),
                kind=judgement.kind,
                target=target,
                precision=precision,
                progress=progress,
            )
            size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    return Exported(place, judgement, checkpoint.geometry.size, checkpoint.geometry.hidden, device, precision, size)


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
def _whole_or_not_at_all(target: Path) -> Iterator[Path]:
    """A folder beside ``target`` that takes its place when the block ends well, and vanishes otherwise."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # Hidden: Triton does not take a folder for a model while it is being written.
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        fresh = scratch / "new"
        fresh.mkdir()
        yield fresh
        if target.exists():
            target.replace(scratch / "old")
        fresh.replace(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write_directory(
    checkpoint: Checkpoint,
    directory: Path,
    *,
    final: Path,
    kind: Kind,
    target: Target,
    precision: Precision,
    progress: Callable[[int, int], None] | None,
) -> None:
    for file in _TOKENIZER_FILES:
        if (checkpoint.folder / file).is_file():
            shutil.copyfile(checkpoint.folder / file, directory / file)

    geometry = checkpoint.geometry
    facts = {
        "model_family": FAMILIES[kind],
        "model_size": TINY if checkpoint.source == TINY else geometry.size,
        "source": checkpoint.source,
        "revision": checkpoint.revision,
        "device": target.device,
        "precision": precision,
    }
    parameters = {
        **facts,
        "max_tokens": str(geometry.max_tokens),
        "vocabulary": str(geometry.vocabulary),
        "tokenizer": checkpoint.tokenizer or str(final),
        "tokenizer_sha256": sha256(directory / "tokenizer.json"),
        "default_instruction": DEFAULT_INSTRUCTION,
    }
    weights = equalise(checkpoint) if precision in QUANTISED else checkpoint
    if kind == "embedding":
        parameters |= {"dimensions": str(geometry.hidden), "eos_token_id": str(eos_token_id(checkpoint))}
        outputs = {"embedding": geometry.hidden}
        model = build_graph(weights, Arithmetic(precision), target=target)
    else:
        outputs = {"score": 1, "logit": 1}
        model = build_graph(weights, Arithmetic(precision), answers(checkpoint), target=target)

    version = directory / "1"
    version.mkdir()
    total, done = weight_bytes(model), 0

    def advance(tensor_bytes: int) -> None:
        nonlocal done
        done += tensor_bytes
        if progress is not None:
            progress(done, total)

    write_model(model, version / "model.onnx", progress=advance)

    templates = _templates()
    gpu = target.device == "cuda"  # for which there is no embedded host
    for file in ("config.pbtxt",) if gpu else ("config.pbtxt", "configs/embedded.pbtxt"):
        template = (templates / MODEL_NAMES[kind] / file).read_text("utf-8")
        (directory / file).parent.mkdir(exist_ok=True)
        (directory / file).write_text(fill_in(template, outputs=outputs, gpu=gpu, parameters=parameters), "utf-8")
    if not gpu:  # one host serves both kinds
        shutil.copyfile(templates / MODEL_NAMES["embedding"] / "1" / "model.py", version / "model.py")
    write_manifest(directory, {"kind": kind, **facts, "onnxruntime": target.ort_version, "attention": target.attention})


def _templates() -> Path:
    """The hand-written model repository: inside an installed wheel, or in the checkout beside this package."""
    package = Path(__file__).resolve().parent
    for root in (package, package.parents[1]):
        if (root / "model_repository").is_dir():
            return root / "model_repository"
    raise ExportError("this installation lacks model_repository/; install qwen3-triton again")
