"""What a model directory holds: tokenizer, graph and weights, host, configurations, manifest.

`exporter` decides where it goes and puts it there; this module fills it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from .checkpoint.checkpoint import Checkpoint
from .checkpoint.equalise import equalise
from .checkpoint.tiny import TINY
from .checkpoint.vocabulary import answers, eos_token_id
from .graph.arithmetic import Arithmetic
from .graph.onnx_file import build_graph, write_model
from .kind import FAMILIES, MODEL_NAMES, Kind
from .model_directory.manifest import SOURCE_FACTS, sha256, write_manifest
from .model_directory.triton_config import write_config
from .model_directory.versions import check_fits
from .precision import QUANTISED, Precision
from .target import Device, Target

TEMPLATES = Path(__file__).parent / "templates"
FIRST_VERSION = 1  # of a model of its own
# Source: the model cards' default task.
DEFAULT_INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


def start_directory(
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


def write_directory(
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
    """Write a whole model directory with the packed graph.

    Args:
        checkpoint: The weights.
        directory: Where to.
        final: Where it will move.
        version: The version's number if `final` holds others, whose configurations it keeps; None for a new model.
        kind: `embedding` or `reranker`.
        target: Where the graph will run.
        precision: How products are computed.
        progress: Called with bytes begun and bytes in all while weights are written.

    Raises:
        ExportError: A weight is missing, or the version does not fit the others.
    """
    parameters = start_directory(
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
    folder = directory / str(version or FIRST_VERSION)
    folder.mkdir()
    write_model(model, folder / "model.onnx", progress=progress)

    gpu = target.device == "cuda"  # for which there is no embedded host
    for file in ("config.pbtxt",) if gpu else ("config.pbtxt", "configs/embedded.pbtxt"):
        # Another version of a model: above the marked line the operator's file stays as it is.
        template = (TEMPLATES / MODEL_NAMES[kind] if version is None else final) / file
        write_config(template, directory / file, outputs=outputs, gpu=gpu, parameters=parameters)
    if not gpu:  # one host serves both kinds
        shutil.copyfile(TEMPLATES / "model.py", folder / "model.py")
    runtime = {"onnxruntime": target.ort_version, "attention": target.attention}
    facts = {key: parameters[key] for key in SOURCE_FACTS}
    write_manifest(directory, {"kind": kind, "model_version": version or FIRST_VERSION, **facts, **runtime})
