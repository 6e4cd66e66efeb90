"""The content of a model directory with the packed graph: tokenizer, graph, weights, host, configurations, manifest.

This module writes the files into a folder that it is given; `exporter` moves that folder into the repository.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from qwen3_client.fingerprint import EARLIER, OUTPUT_NAME, fingerprint_of

from .checkpoint.adapter import WEIGHTS
from .checkpoint.chat_template import pair_prompt
from .checkpoint.checkpoint import Checkpoint
from .checkpoint.digest import model_digest
from .checkpoint.equalise import equalise
from .checkpoint.reranker_head import read_head
from .checkpoint.text_prompts import prompt_parameters
from .checkpoint.tiny import TINY
from .checkpoint.vocabulary import eos_token_id
from .cpu import RAGGED, RAGGED_VNNI
from .graph.arithmetic import Arithmetic
from .graph.fused_rows import can_have_exact_products, fuse_rows, with_exact_products
from .graph.host_indices import has_host_indices, with_host_indices
from .graph.onnx_file import Model, add_fingerprint, build_graph, derive_model, write_beside, write_model
from .graph.ragged_attention import has_ragged_graph
from .kind import FAMILIES, MODEL_NAMES, Kind
from .model_directory.manifest import sha256, source_facts, write_manifest
from .model_directory.triton_config import Instances, read_config, write_config
from .model_directory.versions import check_fits
from .precision import QUANTIZED, Precision
from .target import Device, Target

TEMPLATES = Path(__file__).parent / "templates"
FIRST_VERSION = 1
CUDA_GRAPHS = "cuda_graphs.onnx"  # beside model.onnx: the graph that the embedded host captures
# Source: the model cards' default task.
DEFAULT_INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"

# Settings of Triton's onnxruntime backend for GPUs: the memory arena would round the sizes of weights up.
_GPU_SETTINGS = {"session.use_device_allocator_for_initializers": "1"}

# For each device: the configurations to write, their templates, and what the instances run on. The embedded Triton was
# built without GPU support and refuses KIND_GPU; the host finds the GPU itself.
_CONFIGS: dict[Device, tuple[tuple[str, str, Instances], ...]] = {
    "cpu": (
        ("config.pbtxt", "config.pbtxt", "KIND_CPU"),
        ("configs/embedded.pbtxt", "configs/embedded.pbtxt", "KIND_CPU"),
    ),
    "cuda": (
        ("config.pbtxt", "config.pbtxt", "KIND_GPU"),
        ("configs/embedded.pbtxt", "configs/embedded_cuda.pbtxt", "KIND_MODEL"),
    ),
}
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


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
        The parameters of the model's configuration, which tell clients about the model; all but those of `stamped`.

    Raises:
        ExportError: The tokenizer does not fit the model.
    """
    directory.mkdir(exist_ok=True)
    for file in TOKENIZER_FILES:
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
        if checkpoint.mrl is not None:
            parameters |= checkpoint.mrl.parameters(full=checkpoint.dimensions)
        return parameters | prompt_parameters(checkpoint.saved_folder, default_instruction=DEFAULT_INSTRUCTION)
    prompt = pair_prompt(checkpoint.saved_folder, tokenizer_folder=checkpoint.tokenizer_folder)
    return parameters | prompt.parameters(default_instruction=DEFAULT_INSTRUCTION)


def stamped(parameters: Mapping[str, str], *, digest: str) -> dict[str, str]:
    """Add a model's digest, from `model_digest`, and the fingerprint that follows from it, to its parameters."""
    known = {**parameters, "model_sha256": digest}
    return known | {"fingerprint": fingerprint_of(known) or ""}


def declare_model(checkpoint: Checkpoint, *, kind: Kind, target: Target, precision: Precision) -> Model:
    """Build the packed graph of a checkpoint. The weights stay on disk until it is written.

    Raises:
        ExportError: A weight is missing or has another shape, or a reranker's head cannot be served.
    """
    weights = equalise(checkpoint) if precision in QUANTIZED else checkpoint
    head = None if kind == "embedding" else read_head(checkpoint)
    return build_graph(weights, Arithmetic(precision), head, target=target)


def declare_ragged(checkpoint: Checkpoint, *, kind: Kind, target: Target, precision: Precision) -> dict[str, Model]:
    """Build the graphs with the project's own operators that an export has beside the packed graph.

    Returns:
        The graphs by their file names; none if the model or the target has no ragged attention.

    Raises:
        ExportError: As in `declare_model`.
    """
    if not has_ragged_graph(target, checkpoint.geometry):
        return {}

    def declared() -> Model:
        model = declare_model(checkpoint, kind=kind, target=replace(target, attention="ragged"), precision=precision)
        if precision == "int8":
            fuse_rows(model)
        return model

    graphs = {RAGGED: declared()}
    if can_have_exact_products(graphs[RAGGED]):
        graphs[RAGGED_VNNI] = with_exact_products(declared())
    return graphs


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
    model = declare_model(checkpoint, kind=kind, target=target, precision=precision)
    outputs = {"embedding": checkpoint.dimensions} if kind == "embedding" else {"score": 1, "logit": 1}
    if version is not None:
        check_fits(final, parameters)
    parameters = stamped(parameters, digest=model_digest(checkpoint, kind))  # last, because it reads every weight
    is_named = True  # whether each answer names the model
    if version is not None:
        earlier = read_config(final / "config.pbtxt")
        # All versions share the outputs, and earlier exports have none for the fingerprint.
        is_named = any(output.name == OUTPUT_NAME for output in earlier.output)
        known = [earlier.parameters[key].string_value for key in ("fingerprint", EARLIER) if key in earlier.parameters]
        parameters[EARLIER] = ",".join(part for part in known if part)
    if is_named:
        add_fingerprint(model, parameters["fingerprint"])
    folder = directory / str(version or FIRST_VERSION)
    folder.mkdir()
    write_model(model, folder / "model.onnx", progress=progress)
    if kind == "embedding" and has_host_indices(target, pooling=checkpoint.modules.pooling):
        fingerprint = parameters["fingerprint"] if is_named else ""
        change = partial(with_host_indices, geometry=checkpoint.geometry, fingerprint=fingerprint)
        derive_model(folder / "model.onnx", folder / CUDA_GRAPHS, change)
    for file, graph in declare_ragged(checkpoint, kind=kind, target=target, precision=precision).items():
        if is_named:
            add_fingerprint(graph, parameters["fingerprint"])
        write_beside(graph, folder / file, written=folder / "model.onnx")

    for file, template_file, instances in _CONFIGS[target.device]:
        # A new version keeps what the operator has written above the marked line of the existing configuration.
        settings = _GPU_SETTINGS if instances == "KIND_GPU" else {}
        template = TEMPLATES / MODEL_NAMES[kind] / template_file if version is None else final / file
        write_config(
            template,
            directory / file,
            outputs=outputs,
            names_fingerprint=is_named,
            instances=instances,
            parameters=parameters | settings,
        )
    shutil.copyfile(TEMPLATES / "model.py", folder / "model.py")  # both kinds have the same host
    runtime = {"onnxruntime": target.ort_version, "attention": target.attention}
    facts = source_facts(parameters)
    write_manifest(directory, {"kind": kind, "model_version": version or FIRST_VERSION, **facts, **runtime})
