"""What follows the decoder, read from the files of every release of sentence-transformers, or refused by name."""

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from qwen3_export import ExportError, export
from qwen3_export.checkpoint.module_settings import DenseLayer
from qwen3_export.checkpoint.modules import PLAIN, Modules, read_modules
from support.random_checkpoints import make_random_checkpoint

HIDDEN = 64
OLD_FLAGS = {
    "word_embedding_dimension": HIDDEN,
    "pooling_mode_cls_token": False,
    "pooling_mode_mean_tokens": False,
    "pooling_mode_max_tokens": False,
    "pooling_mode_mean_sqrt_len_tokens": False,
    "pooling_mode_weightedmean_tokens": False,
    "pooling_mode_lasttoken": True,
    "include_prompt": True,
}
TODAY = {"embedding_dimension": HIDDEN, "pooling_mode": "lasttoken", "include_prompt": True}
DENSE = {
    "in_features": HIDDEN,
    "out_features": 32,
    "bias": True,
    "activation_function": "torch.nn.modules.linear.Identity",
}
TYPES = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "Dense": "sentence_transformers.base.modules.dense.Dense",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
}


def write_modules(folder: Path, *modules: tuple[str, str, Any], **entry: Any) -> Path:  # noqa: ANN401
    """Write modules.json: the Transformer, and modules of a type or kind, each with its folder and config.json."""
    entries = [{"idx": 0, "name": "0", "path": "", "type": TYPES["Transformer"]}]
    for index, (kind, path, config) in enumerate(modules, 1):
        entries.append({"idx": index, "name": str(index), "path": path, "type": TYPES.get(kind, kind), **entry})
        if config is not None:
            (folder / path).mkdir(exist_ok=True)
            (folder / path / "config.json").write_text(json.dumps(config))
    (folder / "modules.json").write_text(json.dumps(entries))
    return folder


def modules_of(folder: Path) -> Modules:
    return read_modules(folder, hidden=HIDDEN)


def test_a_folder_without_modules_json_is_a_plain_qwen3_embedding(tmp_path: Path) -> None:
    assert modules_of(tmp_path) == PLAIN == Modules("lasttoken", (), is_normalized=True)


@pytest.mark.parametrize("config", [TODAY, OLD_FLAGS], ids=["5.4 and newer", "older"])
def test_pooling_is_read_from_every_release(tmp_path: Path, config: dict[str, Any]) -> None:
    normalize = ("Normalize", "2_Normalize", None)
    assert modules_of(write_modules(tmp_path, ("Pooling", "1_Pooling", config), normalize)) == PLAIN


@pytest.mark.parametrize(("flag", "mode"), [("cls_token", "cls"), ("mean_tokens", "mean"), ("lasttoken", "lasttoken")])
def test_the_old_booleans_name_the_pooling(tmp_path: Path, flag: str, mode: str) -> None:
    config = OLD_FLAGS | {"pooling_mode_lasttoken": False, f"pooling_mode_{flag}": True}
    assert modules_of(write_modules(tmp_path, ("Pooling", "1_Pooling", config))).pooling == mode


def test_the_paths_and_types_of_older_releases_decide(tmp_path: Path) -> None:
    write_modules(
        tmp_path,
        ("sentence_transformers.models.Pooling", "pooled", TODAY),
        ("sentence_transformers.models.Dense", "smaller", DENSE),
        ("sentence_transformers.models.Normalize", "", None),
    )
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(TODAY | {"pooling_mode": "max"}))
    assert modules_of(tmp_path) == Modules(
        "lasttoken", (DenseLayer("smaller", 64, 32, has_bias=True, activation="identity"),)
    )


def test_dense_layers_keep_their_order(tmp_path: Path) -> None:
    second = DENSE | {"in_features": 32, "out_features": 128, "bias": False}
    del second["activation_function"]  # the library's default
    write_modules(tmp_path, ("Pooling", "1_Pooling", TODAY), ("Dense", "2_Dense", DENSE), ("Dense", "3_Dense", second))
    modules = modules_of(tmp_path)
    assert [layer.name for layer in modules.dense] == ["2_Dense", "3_Dense"]
    assert modules.dense[1] == DenseLayer("3_Dense", 32, 128, has_bias=False, activation="tanh")
    assert modules.dimensions(HIDDEN) == 128
    assert not modules.is_normalized


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"include_prompt": False}, "include_prompt = False"),
        ({"pooling_mode": ["mean", "lasttoken"]}, "joins 2 poolings, mean and lasttoken"),
        ({"pooling_mode": "weightedmean"}, "'weightedmean'; export supports lasttoken, mean and cls"),
        ({"embedding_dimension": 128}, "embedding_dimension = 128, but the hidden size of the model is 64"),
        ({"temperature": 2}, "temperature = 2, which export does not know"),
    ],
)
def test_a_pooling_that_is_not_supported_is_refused(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    write_modules(tmp_path, ("Pooling", "1_Pooling", TODAY | changes))
    with pytest.raises(ExportError, match=reason):
        modules_of(tmp_path)


def test_old_and_new_keys_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    write_modules(tmp_path, ("Pooling", "1_Pooling", TODAY | OLD_FLAGS))
    assert modules_of(tmp_path).pooling == "lasttoken"
    write_modules(tmp_path, ("Pooling", "1_Pooling", TODAY | OLD_FLAGS | {"pooling_mode": "mean"}))
    with pytest.raises(ExportError, match="pooling_mode = 'mean' and sets the older keys of lasttoken"):
        modules_of(tmp_path)


@pytest.mark.parametrize("modes", [3, {"mean": True}, ["mean", "cls"]])
def test_what_is_not_one_pooling_is_refused(tmp_path: Path, modes: object) -> None:
    write_modules(tmp_path, ("Pooling", "1_Pooling", TODAY | {"pooling_mode": modes}))
    with pytest.raises(ExportError, match="pool"):
        modules_of(tmp_path)


@pytest.mark.parametrize("name", ["1_Pooling", "pooled"])
@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (TODAY | {"pooling_mode": "mean"}, "asks for another pooling"),
        (OLD_FLAGS | {"pooling_mode_lasttoken": False, "pooling_mode_cls_token": True}, "asks for another pooling"),
        (DENSE, "is a dense layer"),
    ],
)
def test_modules_that_nothing_lists_are_refused(tmp_path: Path, name: str, config: dict[str, Any], reason: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "config.json").write_text(json.dumps(config))
    with pytest.raises(ExportError, match=f"{name} {reason}.*, but there is no modules.json"):
        modules_of(tmp_path)
    (tmp_path / name / "config.json").write_text(json.dumps(TODAY))
    assert modules_of(tmp_path) == PLAIN


def test_several_old_booleans_are_refused(tmp_path: Path) -> None:
    write_modules(tmp_path, ("Pooling", "1_Pooling", OLD_FLAGS | {"pooling_mode_mean_tokens": True}))
    with pytest.raises(ExportError, match="joins 2 poolings, mean and lasttoken"):
        modules_of(tmp_path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"use_residual": True}, "use_residual"),
        ({"activation_function": "torch.nn.modules.activation.Softplus"}, "Softplus; export supports"),
        ({"activation_function": "custom.Tanh"}, "custom.Tanh; export supports"),
        ({"module_input_name": "token_embeddings"}, "module_input_name = 'token_embeddings'"),
        ({"in_features": 100}, "in_features = 100 .* returns 64 numbers"),
        ({"rank": 4}, "rank = 4"),
    ],
)
def test_a_dense_that_is_not_supported_is_refused(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    write_modules(tmp_path, ("Pooling", "1_Pooling", TODAY), ("Dense", "2_Dense", DENSE | changes))
    with pytest.raises(ExportError, match=reason):
        modules_of(tmp_path)


@pytest.mark.parametrize(
    ("modules", "reason"),
    [
        ([("Normalize", "1_Normalize", None)], "lists Transformer, Normalize"),
        ([("Pooling", "1_Pooling", TODAY)] * 2, "lists Transformer, Pooling, Pooling"),
        (
            [("Pooling", "1_Pooling", TODAY), ("Normalize", "2_Normalize", None), ("Dense", "3_Dense", DENSE)],
            "a module after Normalize",
        ),
        ([("sentence_transformers.models.LSTM", "1_LSTM", None)], "the type sentence_transformers.models.LSTM"),
        ([("st_quantize.Pooling", "1_Pooling", TODAY)], "the type st_quantize.Pooling"),
        ([("Pooling", "../1_Pooling", None)], "outside the checkpoint"),
    ],
)
def test_modules_in_another_form_are_refused(tmp_path: Path, modules: list[tuple[str, str, Any]], reason: str) -> None:
    write_modules(tmp_path, *modules)
    with pytest.raises(ExportError, match=reason):
        modules_of(tmp_path)


def test_arguments_of_a_module_are_refused(tmp_path: Path) -> None:
    write_modules(tmp_path, ("Pooling", "1_Pooling", TODAY), kwargs=["task"])
    with pytest.raises(ExportError, match=r"passes \['task'\]"):
        modules_of(tmp_path)


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({}, "model.safetensors is missing"),
        ({"linear.weight": (32, 64)}, r"holds linear.weight \[32, 64\], but .* linear.bias \[32\] follows"),
        ({"linear.weight": (64, 32), "linear.bias": (32,)}, r"but linear.weight \[32, 64\]"),
        ({"linear.weight": (32, 64), "linear.bias": (32,), "residual.weight": (32, 64)}, "residual.weight"),
    ],
)
def test_weights_of_a_dense_that_do_not_fit_are_refused(
    tmp_path: Path, tensors: dict[str, tuple[int, ...]], reason: str
) -> None:
    folder = make_random_checkpoint(tmp_path / "model")
    write_modules(folder, ("Pooling", "1_Pooling", TODAY), ("Dense", "2_Dense", DENSE))
    if tensors:
        values = {name: np.zeros(shape, ml_dtypes.bfloat16) for name, shape in tensors.items()}
        safetensors.numpy.save_file(values, folder / "2_Dense" / "model.safetensors")
    with pytest.raises(ExportError, match=reason):
        export(str(folder), repository=tmp_path / "repository")
    assert not list((tmp_path / "repository").iterdir())
