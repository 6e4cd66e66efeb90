"""What sentence-transformers computes after the decoder: pooling, dense layers, normalisation.

`modules.json` lists a model's modules in their order, each with its type and the folder of its own config.json. The
files are read as sentence-transformers 6 and its predecessors write them. Every key of them is used, known to change
nothing, or refused; docs/checkpoints.md has the table. A folder without modules.json is a plain Qwen3-Embedding.

Knows nothing about the decoder, beyond the size of its hidden states, and nothing about graphs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, cast, get_args

from ..errors import ExportError
from .json_file import read_object, read_value
from .sentence_config import check_sentence_config
from .stored_tensor import StoredTensor, read_index

Pooling = Literal["lasttoken", "mean", "cls"]
Activation = Literal["identity", "tanh", "relu", "gelu", "sigmoid", "silu"]

MODULES = "modules.json"

# The booleans of releases before 5.4, and the modes for which they stand. Source: sentence-transformers' Pooling.
_POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
# By the name of the class, which a Dense states with its path: torch.nn.modules.activation.Tanh.
_ACTIVATIONS: dict[str, Activation] = {
    "Identity": "identity",
    "Tanh": "tanh",
    "ReLU": "relu",
    "GELU": "gelu",
    "Sigmoid": "sigmoid",
    "SiLU": "silu",
}
_KINDS = ("Transformer", "Pooling", "Dense", "Normalize")  # of embedding models
_SENTENCE = "sentence_embedding"  # the feature that holds a text's vector


@dataclass(frozen=True, slots=True)
class DenseLayer:
    """A dense layer after pooling: `activation(x @ W.T + b)`.

    Attributes:
        name: Its folder in the checkpoint, such as `2_Dense`.
        inputs: Size of the vectors that it takes.
        outputs: Size of the vectors that it returns.
        has_bias: Whether `b` exists.
        activation: The activation function.
    """

    name: str
    inputs: int
    outputs: int
    has_bias: bool
    activation: Activation


@dataclass(frozen=True, slots=True)
class Modules:
    """What follows the decoder, in this order.

    Attributes:
        pooling: How one vector is made of the hidden states of a text's tokens.
        dense: The dense layers.
        is_normalized: Whether vectors are scaled to norm 1 at the end.
    """

    pooling: Pooling = "lasttoken"
    dense: tuple[DenseLayer, ...] = ()
    is_normalized: bool = True

    def dimensions(self, hidden: int) -> int:
        """Return the size of the vectors of a model whose hidden states have this size."""
        return self.dense[-1].outputs if self.dense else hidden


PLAIN = Modules()  # Qwen3-Embedding as it was published


def read_modules(folder: Path, *, hidden: int) -> Modules:
    """Read the modules of an embedding model.

    Args:
        folder: The checkpoint.
        hidden: Size of the decoder's hidden states.

    Raises:
        ExportError: A file cannot be read, or asks for something that export does not support.
    """
    if not (folder / MODULES).is_file():
        for left_over in sorted(path.parent for path in folder.glob("*/config.json")):
            _check_left_over(left_over, hidden=hidden)
        return PLAIN
    check_sentence_config(folder)
    listed = [_module(folder, entry) for entry in module_entries(folder)]
    kinds = [kind for kind, _ in listed]
    if kinds[:2] != ["Transformer", "Pooling"] or any(kind in ("Transformer", "Pooling") for kind in kinds[2:]):
        raise ExportError(
            f"{folder / MODULES} lists {', '.join(kinds)}; export takes a Transformer, a Pooling, and after them any "
            "number of Dense and a Normalize: bring a model of this form"
        )
    if "Normalize" in kinds[:-1]:
        raise ExportError(
            f"{folder / MODULES} has a module after Normalize, which export does not support; bring a model whose last "
            "module is Normalize, or that has none"
        )
    pooling = _pooling(folder / listed[1][1], hidden=hidden)
    size, dense = hidden, []
    for kind, path in listed[2:]:
        if kind == "Dense":
            dense.append(_dense(folder, path, inputs=size))
            size = dense[-1].outputs
        else:
            _check_normalize(folder / path / "config.json")
    return Modules(pooling, tuple(dense), is_normalized=kinds[-1] == "Normalize")


def module_entries(folder: Path) -> list[dict[str, Any]]:
    """Return the modules that a checkpoint's `modules.json` lists; none if sentence-transformers did not save it.

    Raises:
        ExportError: The file cannot be read, or is not such a list.
    """
    path = folder / MODULES
    if not path.is_file():
        return []
    entries = read_value(path)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ExportError(f"{path} does not hold a list of modules; save the model again with sentence-transformers")
    return entries


def module_types(folder: Path) -> list[str]:
    """Return the classes of the modules, in their order, such as `Transformer` and `LogitScore`.

    Raises:
        ExportError: As `module_entries`.
    """
    return [str(entry.get("type", "")).rpartition(".")[2] for entry in module_entries(folder)]


def read_dense_weights(folder: Path, layer: DenseLayer) -> tuple[StoredTensor, StoredTensor | None]:
    """Return the weight `[outputs, inputs]` and the bias `[outputs]` of a dense layer; None for the bias without one.

    Args:
        folder: The checkpoint.
        layer: One of its layers.

    Raises:
        ExportError: A tensor is missing, has another shape, or is one too many.
    """
    path = folder / layer.name / "model.safetensors"
    if not path.is_file():
        raise ExportError(f"{path} is missing; save the model again with sentence-transformers, as safetensors")
    tensors = read_index(path)
    shapes: dict[str, tuple[int, ...]] = {"linear.weight": (layer.outputs, layer.inputs)}
    if layer.has_bias:
        shapes["linear.bias"] = (layer.outputs,)
    if {name: stored.shape for name, stored in tensors.items()} != shapes:
        found = ", ".join(f"{name} {list(stored.shape)}" for name, stored in tensors.items())
        wanted = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise ExportError(
            f"{path} holds {found}, but {wanted} follows from the config.json beside it; use the files that belong "
            "together"
        )
    return tensors["linear.weight"], tensors.get("linear.bias")


def _check_left_over(folder: Path, *, hidden: int) -> None:
    """Make sure that a folder which no modules.json lists is not that of a module which changes the vectors."""
    config = read_object(folder / "config.json")
    if ("pooling_mode" in config or _POOLING_FLAGS.keys() & config) and _pooling(folder, hidden=hidden) != "lasttoken":
        asks = "asks for another pooling than last-token pooling"
    elif {"in_features", "out_features"} <= config.keys():
        asks = "is a dense layer"
    else:
        return
    raise ExportError(
        f"{folder} {asks}, but there is no {MODULES} that lists it; bring the whole folder that sentence-transformers "
        "saved"
    )


def reranker_modules(folder: Path) -> list[tuple[str, Path]]:
    """Return the kinds and folders of a reranker's modules; none if sentence-transformers did not save it.

    Raises:
        ExportError: The file cannot be read, or asks for something that export does not support.
    """
    entries = [_module(folder, entry, ("Transformer", "LogitScore")) for entry in module_entries(folder)]
    return [(kind, folder / path) for kind, path in entries]


def _module(folder: Path, entry: Mapping[str, Any], kinds: Sequence[str] = _KINDS) -> tuple[str, str]:
    """Return the kind and the folder of an entry of modules.json."""
    path = folder / MODULES
    refuse_unknown(path, entry, known={"idx", "name", "path", "type", "kwargs"})
    name, where = str(entry.get("type", "")), str(entry.get("path", ""))
    kind = name.rpartition(".")[2]
    if not name.startswith("sentence_transformers.") or kind not in kinds:
        raise ExportError(
            f"{path} has a module of the type {name}, which export does not support; bring a model whose modules are "
            f"sentence-transformers' own {', '.join(kinds[:-1])} and {kinds[-1]}"
        )
    if entry.get("kwargs"):
        raise ExportError(
            f"{path} passes {entry['kwargs']} to {where or kind} for each text, which export does not support; bring a "
            "model saved without kwargs"
        )
    if PurePosixPath(where).is_absolute() or ".." in PurePosixPath(where).parts:
        raise ExportError(f"{path} names a folder outside the checkpoint, {where}; bring a model saved in one folder")
    if kind == "Transformer" and where not in ("", "."):
        raise ExportError(
            f"{path} has the weights in {where}; save the model again with sentence-transformers, which writes them "
            "beside modules.json"
        )
    return kind, where


def _pooling(folder: Path, *, hidden: int) -> Pooling:
    path = folder / "config.json"
    config = read_object(path)
    sizes = ("embedding_dimension", "word_embedding_dimension")
    refuse_unknown(path, config, known={"pooling_mode", "include_prompt", *sizes, *_POOLING_FLAGS})
    for size in sizes:
        if config.get(size, hidden) != hidden:
            raise ExportError(
                f"{path} has {size} = {config[size]}, but the hidden size of the model is {hidden}; use the files that "
                "belong to these weights"
            )
    if config.get("include_prompt", True) is not True:
        raise ExportError(
            f"{path} has include_prompt = {config['include_prompt']!r}, which leaves the prompt out of pooling; export "
            "does not support that: bring a model that pools all tokens"
        )
    stated = config.get("pooling_mode")
    flagged = [mode for flag, mode in _POOLING_FLAGS.items() if config.get(flag)]
    modes = [stated] if isinstance(stated, str) else stated or flagged or ["mean"]
    if not isinstance(modes, list) or (stated and flagged and flagged != modes):
        raise ExportError(
            f"{path} has pooling_mode = {stated!r} and sets the older keys of {' and '.join(flagged) or 'none'}; keep "
            "the pooling that the model was trained with"
        )
    if len(modes) != 1:
        raise ExportError(
            f"{path} joins {len(modes)} poolings, {' and '.join(map(str, modes))}; export supports one: bring a model "
            "that pools in one way"
        )
    if modes[0] not in get_args(Pooling):
        raise ExportError(
            f"{path} asks for the pooling {modes[0]!r}; export supports lasttoken, mean and cls: bring a model with "
            "one of them"
        )
    return cast(Pooling, modes[0])


def _dense(folder: Path, name: str, *, inputs: int) -> DenseLayer:
    path = folder / name / "config.json"
    config = read_object(path)
    names = ("module_input_name", "module_output_name")
    refuse_unknown(
        path, config, known={"in_features", "out_features", "bias", "activation_function", "use_residual", *names}
    )
    _refuse_other_features(path, config)
    if config.get("use_residual"):
        raise ExportError(
            f"{path} has use_residual = true, which export does not support; bring a model with plain Dense modules"
        )
    if config.get("in_features") != inputs or not isinstance(config.get("out_features"), int):
        raise ExportError(
            f"{path} has in_features = {config.get('in_features')} and out_features = {config.get('out_features')}, "
            f"but the module before it returns {inputs} numbers; use the files that belong to these weights"
        )
    # Without the key, sentence-transformers takes its default.
    stated = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    activation = _ACTIVATIONS.get(stated.rpartition(".")[2]) if stated.startswith("torch.nn.") else None
    if activation is None:
        raise ExportError(
            f"{path} has the activation {stated}; export supports torch's {', '.join(_ACTIVATIONS)}: bring a model "
            "with one of them"
        )
    return DenseLayer(
        name=name,
        inputs=inputs,
        outputs=config["out_features"],
        has_bias=bool(config.get("bias", True)),
        activation=activation,
    )


def _check_normalize(path: Path) -> None:
    if path.is_file():  # releases before 5.4 write none
        config = read_object(path)
        refuse_unknown(path, config, known={"module_input_name", "module_output_name"})
        _refuse_other_features(path, config)


def _refuse_other_features(path: Path, config: Mapping[str, Any]) -> None:
    for key in ("module_input_name", "module_output_name"):
        if config.get(key) not in (None, _SENTENCE):
            raise ExportError(
                f"{path} has {key} = {config[key]!r}; export supports modules that read and write {_SENTENCE}: bring a "
                "model of single vectors"
            )


def refuse_unknown(path: Path, config: Mapping[str, Any], *, known: set[str]) -> None:
    """Make sure that export knows every key of a module's file.

    Raises:
        ExportError: It does not.
    """
    for key, value in config.items():
        if key not in known and value is not None:
            raise ExportError(
                f"{path} has {key} = {value!r}, which export does not know; save the model with a release of "
                "sentence-transformers up to 6, or remove the key if it changes nothing"
            )
