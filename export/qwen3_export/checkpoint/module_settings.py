"""What the modules after a decoder are set to, each by the config.json in its folder: Pooling, Dense and Normalize.

The files are read as sentence-transformers 6 and its predecessors write them. Every key of them is used, known to
change nothing, or refused; docs/checkpoints.md has the table. Knows nothing about the list of modules, or about graphs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from ..errors import ExportError
from .json_file import read_object
from .stored_tensor import StoredTensor, read_index

Pooling = Literal["lasttoken", "mean", "cls"]
Activation = Literal["identity", "tanh", "relu", "gelu", "sigmoid", "silu"]

# The booleans of releases before 5.4, and the modes for which they stand. Source: sentence-transformers' Pooling.
POOLING_FLAGS = {
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


def read_pooling(folder: Path, *, hidden: int) -> Pooling:
    """Read how the Pooling in a folder makes one vector of hidden states of size `hidden`.

    Raises:
        ExportError: Export does not support what it asks for.
    """
    path = folder / "config.json"
    config = read_object(path)
    sizes = ("embedding_dimension", "word_embedding_dimension")
    refuse_unknown(path, config, known={"pooling_mode", "include_prompt", *sizes, *POOLING_FLAGS})
    for size in sizes:
        if config.get(size, hidden) != hidden:
            raise ExportError(
                f"{path} has {size} = {config[size]}, but the hidden size of the model is {hidden}; use the files that "
                "belong to these weights"
            )
    if config.get("include_prompt", True) is not True:
        raise ExportError(
            f"{path} has include_prompt = {config['include_prompt']!r}, which leaves the prompt out of pooling; export "
            "does not support that: use a model that pools all tokens"
        )
    stated = config.get("pooling_mode")
    flagged = [mode for flag, mode in POOLING_FLAGS.items() if config.get(flag)]
    modes = [stated] if isinstance(stated, str) else stated or flagged or ["mean"]
    if not isinstance(modes, list) or (stated and flagged and flagged != modes):
        raise ExportError(
            f"{path} has pooling_mode = {stated!r} and sets the older keys of {' and '.join(flagged) or 'none'}; keep "
            "the pooling that the model was trained with"
        )
    if len(modes) != 1:
        raise ExportError(
            f"{path} joins {len(modes)} poolings, {' and '.join(map(str, modes))}; export supports one: use a model "
            "that pools in one way"
        )
    if modes[0] not in get_args(Pooling):
        raise ExportError(
            f"{path} asks for the pooling {modes[0]!r}; export supports lasttoken, mean and cls: use a model with "
            "one of them"
        )
    return cast(Pooling, modes[0])


def read_dense(folder: Path, name: str, *, inputs: int) -> DenseLayer:
    """Read the Dense in the folder `name` of a checkpoint, which takes vectors of size `inputs`.

    Raises:
        ExportError: Export does not support what it asks for.
    """
    path = folder / name / "config.json"
    config = read_object(path)
    names = ("module_input_name", "module_output_name")
    refuse_unknown(
        path, config, known={"in_features", "out_features", "bias", "activation_function", "use_residual", *names}
    )
    _refuse_other_features(path, config)
    if config.get("use_residual"):
        raise ExportError(
            f"{path} has use_residual = true, which export does not support; use a model with plain Dense modules"
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
            f"{path} has the activation {stated}; export supports torch's {', '.join(_ACTIVATIONS)}: use a model "
            "with one of them"
        )
    return DenseLayer(
        name=name,
        inputs=inputs,
        outputs=config["out_features"],
        has_bias=bool(config.get("bias", True)),
        activation=activation,
    )


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


def check_normalize(path: Path) -> None:
    """Make sure that the file of a Normalize, which may be missing, asks for nothing else.

    Raises:
        ExportError: Export does not support what it asks for.
    """
    if path.is_file():  # releases before 5.4 write none
        config = read_object(path)
        refuse_unknown(path, config, known={"module_input_name", "module_output_name"})
        _refuse_other_features(path, config)


def _refuse_other_features(path: Path, config: Mapping[str, Any]) -> None:
    for key in ("module_input_name", "module_output_name"):
        if config.get(key) not in (None, _SENTENCE):
            raise ExportError(
                f"{path} has {key} = {config[key]!r}; export supports modules that read and write {_SENTENCE}: use a "
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
