"""The text models of a repository: a model beside each packed model that takes texts instead of token ids.

`qwen3-triton serve --text` writes them into a temporary folder, which Triton takes as a second model repository, and
nothing into the user's. Their host, `qwen3_serve.host.text_model`, reads the tokenizer in the packed model's directory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import ServeError
from .text_tensors import TextTensors

_HOST = "from qwen3_serve.host.text_model import TritonPythonModel as TritonPythonModel\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextModel:
    """One text model.

    Attributes:
        name: Its name.
        packed: The directory of its packed model.
        inputs: The names of its inputs, BYTES, each with its shape.
        outputs: The names of its outputs, FP32, each with its shape.
        kind: Whether its texts are queries or documents where a request does not say; None for a reranker.
    """

    name: str
    packed: Path
    inputs: Mapping[str, tuple[int, ...]]
    outputs: Mapping[str, tuple[int, ...]]
    kind: str | None = None


def text_models(repository: Path, models: list[str], *, config_file: str, tensors: TextTensors) -> list[TextModel]:
    """Return the text models for the packed models of a repository.

    Args:
        repository: The model repository.
        models: The names of its exported models.
        config_file: The path in a model directory of the configuration that Triton reads.
        tensors: The names of the tensors of embedding models.

    Raises:
        ServeError: The repository has a model of such a name already.
    """
    found = [made for name in models for made in _beside(repository / name, config_file=config_file, tensors=tensors)]
    for model in found:
        if (repository / model.name).exists():
            raise ServeError(
                f"--text needs the name {model.name}, which {repository / model.name} has: rename that model"
            )
    return found


def write_text_models(models: list[TextModel], folder: Path, *, config_file: str) -> None:
    """Write text models into a folder, which becomes a model repository of Triton.

    Args:
        models: The models.
        folder: The folder, which is made.
        config_file: As for `text_models`.
    """
    for model in models:
        version = folder / model.name / "1"
        version.mkdir(parents=True)
        (version / "model.py").write_text(_HOST, "utf-8")
        (version.parent / "config.pbtxt").write_text(_config(model, config_file=config_file), "utf-8")


def _beside(packed: Path, *, config_file: str, tensors: TextTensors) -> Iterator[TextModel]:
    from qwen3_export.model_directory.triton_config import read_config  # imports numpy, which `--help` does without

    config = read_config(packed / config_file)
    if [tensor.name for tensor in config.input] != ["input_ids"]:  # a TensorRT plan, which its padding front asks
        return
    sizes = {tensor.name: tensor.dims[0] for tensor in config.output}
    if "embedding" in sizes:
        for kind, name in (("document", f"{packed.name}_text"), ("query", f"{packed.name}_text_query")):
            yield TextModel(
                name=name,
                packed=packed,
                inputs={tensors.input: (-1,)},
                outputs={tensors.output: (-1, sizes["embedding"])},
                kind=kind,
            )
    elif "score" in sizes:
        yield TextModel(
            name=f"{packed.name}_text",
            packed=packed,
            inputs={"query": (1,), "documents": (-1,)},
            outputs={"score": (-1,), "logit": (-1,)},
        )


def _config(model: TextModel, *, config_file: str) -> str:
    parameters = {
        "packed_model": model.packed.name,
        "packed_directory": str(model.packed),
        "packed_config": str(model.packed / config_file),
        **({} if model.kind is None else {"kind": model.kind}),
    }
    return "\n".join(
        [
            'backend: "python"',
            "max_batch_size: 0  # a request is any number of texts; the packed model's scheduler batches them",
            *(_tensor("input", name, "TYPE_STRING", shape) for name, shape in model.inputs.items()),
            *(_tensor("output", name, "TYPE_FP32", shape) for name, shape in model.outputs.items()),
            "instance_group { count: 1 kind: KIND_CPU }",
            *(
                f"parameters {{ key: {_quoted(key)} value {{ string_value: {_quoted(value)} }} }}"
                for key, value in parameters.items()
            ),
            "",
        ]
    )


def _tensor(field: str, name: str, data_type: str, shape: tuple[int, ...]) -> str:
    return f"{field} {{ name: {_quoted(name)} data_type: {data_type} dims: {list(shape)} }}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
