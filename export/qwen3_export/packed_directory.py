"""The content of a model directory with the packed graph: tokenizer, graph, weights, host, configurations, manifest.

This module writes the files into a folder that it is given; `exporter` moves that folder into the repository.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from .checkpoint.adapter import WEIGHTS
from .checkpoint.chat_template import templated_instruction
from .checkpoint.checkpoint import Checkpoint
from .checkpoint.equalise import equalise
from .checkpoint.reranker_head import read_head
from .checkpoint.text_prompts import prompt_parameters
from .checkpoint.tiny import TINY
from .checkpoint.vocabulary import eos_token_id
from .graph.arithmetic import Arithmetic
from .graph.onnx_file import build_graph, write_model
from .kind import FAMILIES, MODEL_NAMES, Kind
from .model_directory.manifest import sha256, source_facts, write_manifest
from .model_directory.triton_config import write_config
from .model_directory.versions import check_fits
from .precision import QUANTIZED, Precision
from .target import Device, Target

TEMPLATES = Path(__file__).parent / "templates"
FIRST_VERSION = 1
# Source: the model cards' default task.
DEFAULT_INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


def start_directory(
    checkpoint: Checkpoint, directory: Path, *, final: Path, kind: Kind, device: Device, precision: Precision
) -> dict[str, str]:
    """Begin a model directory: create it, and copy the tokenizer into it.

    Args:
        checkpoint: The checkpoint.
        directory: The folder to write into.
        final: The path that the directory will have in the repository.
        kind: `embedding` or `reranker`.
        device: `cpu`, `cuda` or `tensorrt`.
        precision: How products are computed.

    Returns:
        The parameters of the model's configuration, which tell clients about the model.

    Raises:
        ExportError: The tokenizer does not fit the model.
    """
    directory.mkdir(exist_ok=True)
    for file in _TOKENIZER_FILES:
        if (checkpoint.tokenizer_folder / file).is_file():
            shutil.copyfile(checkpoint.tokenizer_folder / file, directory / file)
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
    }
    if checkpoint.adapter is not None:
        parameters |= {"adapter": str(checkpoint.adapter), "adapter_sha256": sha256(checkpoint.adapter / WEIGHTS)}
    if kind == "embedding":
        parameters |= {"dimensions": str(checkpoint.dimensions), "eos_token_id": str(eos_token_id(checkpoint))}
        if not checkpoint.modules.is_normalized:
            parameters["normalized"] = "false"  # clients take vectors for unit vectors unless this says otherwise
        return parameters | prompt_parameters(checkpoint.saved_folder, default_instruction=DEFAULT_INSTRUCTION)
    instruction = templated_instruction(checkpoint.saved_folder, tokenizer_folder=checkpoint.tokenizer_folder)
    return parameters | {"default_instruction": instruction or DEFAULT_INSTRUCTION}


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
    """Write a complete model directory with the packed graph.

    Args:
        checkpoint: The weights.
        directory: The folder to write into.
        final: The path that the directory will have in the repository.
        version: The number of a new version of the model at `final`, whose configurations it keeps; None for a model
            of its own, with version 1.
        kind: `embedding` or `reranker`.
        target: Where the graph will run.
        precision: How products are computed.
        progress: Called with the bytes written and the bytes in total while weights are written.

    Raises:
        ExportError: A weight is missing, the tokenizer does not fit the model, or the version does not fit the others.
    """
    parameters = start_directory(
        checkpoint, directory, final=final, kind=kind, device=target.device, precision=precision
    )
    weights = equalise(checkpoint) if precision in QUANTIZED else checkpoint
    if kind == "embedding":
        outputs = {"embedding": checkpoint.dimensions}
        model = build_graph(weights, Arithmetic(precision), target=target)
    else:
        outputs = {"score": 1, "logit": 1}
        model = build_graph(weights, Arithmetic(precision), read_head(checkpoint), target=target)

    if version is not None:
        check_fits(final, parameters)
    folder = directory / str(version or FIRST_VERSION)
    folder.mkdir()
    write_model(model, folder / "model.onnx", progress=progress)

    gpu = target.device == "cuda"  # the embedded host runs on CPUs only
    for file in ("config.pbtxt",) if gpu else ("config.pbtxt", "configs/embedded.pbtxt"):
        # A new version keeps what the operator has written above the marked line of the existing configuration.
        template = (TEMPLATES / MODEL_NAMES[kind] if version is None else final) / file
        write_config(template, directory / file, outputs=outputs, gpu=gpu, parameters=parameters)
    if not gpu:  # both kinds have the same host
        shutil.copyfile(TEMPLATES / "model.py", folder / "model.py")
    runtime = {"onnxruntime": target.ort_version, "attention": target.attention}
    facts = source_facts(parameters)
    write_manifest(directory, {"kind": kind, "model_version": version or FIRST_VERSION, **facts, **runtime})
