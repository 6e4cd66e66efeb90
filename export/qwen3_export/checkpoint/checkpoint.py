"""A Hugging Face checkpoint: its folder, local or downloaded from the Hub, and the tensors and tokenizer in it.

Knows nothing about ONNX.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ..errors import ExportError
from .geometry import Geometry
from .hub import download, download_without_weights
from .json_file import read_object
from .modules import MODULES, Modules, read_modules
from .mrl import Mrl
from .sentence_config import check_tokenizer_config, longest_text
from .stored_tensor import StoredTensor, read_index

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_LAYER = (
    r"input_layernorm|post_attention_layernorm|self_attn\.(q|k|v|o)_proj|self_attn\.(q|k)_norm|mlp\.(gate|up|down)_proj"
)
# The heads of language models and classifiers; and tables that old releases of transformers saved, which follow from
# config.json.
_ELSEWHERE = r"lm_head\.weight|score\.weight|(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq"
ADAPTER_CONFIG = "adapter_config.json"  # of PEFT


@dataclass(frozen=True)  # without slots, which leave no room for a cached property
class Checkpoint:
    """One opened checkpoint.

    Attributes:
        folder: The folder with its files.
        source: What the user named: a Hub id, a folder, `demo` or `tiny`.
        revision: The commit on the Hub, or `""` for a local folder.
        tokenizer: The Hub id from which clients can fetch the tokenizer; `""` if only the export has it.
        geometry: The model's sizes.
        tensors: Every tensor by its name without the prefix `model.`.
        adapter: The folder of the LoRA adapter that is merged into them; None without one.
        mrl: The sizes to which an embedding model's vectors may be cut; None until `read_mrl` has found them.
    """

    folder: Path
    source: str
    revision: str
    tokenizer: str
    geometry: Geometry
    tensors: Mapping[str, StoredTensor]
    adapter: Path | None = None
    mrl: Mrl | None = None

    @cached_property
    def modules(self) -> Modules:
        """What follows the decoder, if this is an embedding model.

        Raises:
            ExportError: Export does not support it.
        """
        return read_modules(self.saved_folder, hidden=self.geometry.hidden)

    @property
    def saved_folder(self) -> Path:
        """The folder with `modules.json` and the files it lists: the adapter's, if sentence-transformers saved that."""
        return self.adapter if self.adapter and (self.adapter / MODULES).is_file() else self.folder

    @property
    def tokenizer_folder(self) -> Path:
        """The folder with the tokenizer: the adapter's, if it was saved with one."""
        return self.adapter if self.adapter and (self.adapter / "tokenizer.json").is_file() else self.folder

    @property
    def dimensions(self) -> int:
        """The size of an embedding model's vectors."""
        return self.modules.dimensions(self.geometry.hidden)

    def tensor(self, name: str, *shape: int) -> StoredTensor:
        """Return the tensor called `name`, which must have exactly this shape.

        Raises:
            ExportError: It is missing, or its shape is not the one that follows from config.json.
        """
        stored = self.tensors.get(name)
        if stored is None:
            raise ExportError(f"{self.folder} holds no tensor {name}; the checkpoint is incomplete")
        if stored.shape != shape:
            raise ExportError(
                f"{name} has the shape {list(stored.shape)}, but {list(shape)} follows from config.json; "
                "use the config.json that belongs to these weights"
            )
        return stored


def open_checkpoint(source: str, *, revision: str | None = None, without_weights: Path | None = None) -> Checkpoint:
    """Open a local checkpoint folder or download one from the Hugging Face Hub.

    Args:
        source: A folder, or a Hub id such as `Qwen/Qwen3-Embedding-0.6B`.
        revision: Branch, tag or commit on the Hub; its main branch if None.
        without_weights: An empty folder for a checkpoint from the Hub without its weights, which cannot be exported;
            None to download the weights too.

    Raises:
        ExportError: There is no such checkpoint, or it cannot be read.
    """
    if Path(source).is_dir():
        if revision is not None:
            raise ExportError(f"--revision is for the Hub, and {source} is a local folder")
        return read_checkpoint(Path(source), source=str(Path(source).resolve()))
    if Path(source).suffix == ".gguf":
        raise _gguf_error(source)
    if Path(source).exists():
        raise ExportError(f"{source} is a file; name the checkpoint's folder")
    if not _HUB_ID.fullmatch(source):
        raise ExportError(
            f"there is no folder {source}, and it is not a Hub id either; a Hub id looks like Qwen/Qwen3-Embedding-0.6B"
        )
    if without_weights is not None:
        commit = download_without_weights(source, revision, without_weights)
        try:
            return read_checkpoint(without_weights, source=source, revision=commit, tokenizer=source)
        except ExportError as error:  # the folder, a temporary one, means nothing to users
            raise ExportError(str(error).replace(str(without_weights), source)) from None
    folder = download(source, revision)
    # In the Hub's cache, the folder of a commit is named by its hash.
    return read_checkpoint(folder, source=source, revision=folder.name, tokenizer=source)


def read_checkpoint(folder: Path, *, source: str, revision: str = "", tokenizer: str = "") -> Checkpoint:
    """Read the model's sizes and the list of tensors from `folder`, and check that it holds a tokenizer.

    Raises:
        ExportError: Something is missing or damaged.
    """
    is_gguf = any(folder.glob("*.gguf")) or source.lower().endswith("gguf")  # the Hub's are named so
    if is_gguf and not (folder / "config.json").is_file():
        raise _gguf_error(source)
    _refuse_adapter(folder)
    geometry = read_geometry(folder)
    if not (folder / "tokenizer.json").is_file():
        raise ExportError(
            f"{folder} holds no tokenizer.json; save it there with "
            "AutoTokenizer.from_pretrained(...).save_pretrained(...)"
        )
    check_tokenizer_config(folder)
    tensors = _read_tensors(folder)
    _check_names(folder, tensors, layers=geometry.layers)
    return Checkpoint(folder, source, revision, tokenizer, geometry, tensors)


def read_geometry(folder: Path, *, limits: Path | None = None) -> Geometry:
    """Read the model's sizes, and the length to which sentence-transformers cuts its texts.

    Args:
        folder: The folder with config.json.
        limits: The folder that sentence-transformers saved, if it is another one.

    Raises:
        ExportError: A file cannot be read, or is not of a model that export supports.
    """
    geometry = Geometry.from_config(read_object(folder / "config.json"))
    limits = limits or folder
    longest = longest_text(limits) if (limits / MODULES).is_file() else None
    return geometry if longest is None else replace(geometry, max_positions=min(geometry.max_positions, longest))


def _refuse_adapter(folder: Path) -> None:
    """Make sure that a folder does not hold an adapter, which transformers would merge when it loads the folder.

    Raises:
        ExportError: It does.
    """
    if not (folder / ADAPTER_CONFIG).is_file():
        return
    base = read_object(folder / ADAPTER_CONFIG).get("base_model_name_or_path") or "BASE"
    if not (folder / "config.json").is_file() or not any(folder.glob("model*.safetensors")):
        raise ExportError(
            f"{folder} holds an adapter without its base model; give both, as in `qwen3-triton export {base} --adapter "
            f"{folder}`"
        )
    raise ExportError(
        f"{folder} holds an adapter ({ADAPTER_CONFIG}) beside whole weights; move the adapter's files into a folder of "
        "their own and pass that with --adapter, or remove them if they are merged into the weights already"
    )


def _read_tensors(folder: Path) -> dict[str, StoredTensor]:
    """List the tensors of a checkpoint by their names without the prefix `model.`.

    Raises:
        ExportError: A file is missing or damaged, or it is not clear which tensors are the model's.
    """
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    files = {single.name}
    if index.is_file():
        weight_map = read_object(index).get("weight_map")
        if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
            raise ExportError(f"{index} has no weight_map that names the file of each tensor; download it again")
        files = set(weight_map.values())
    if single.is_file() and single.name not in files:
        raise ExportError(
            f"{folder} holds the weights twice, in {single.name} and in the shards that {index.name} lists; remove the "
            "files that are out of date"
        )
    tensors: dict[str, StoredTensor] = {}
    for file in sorted(files):
        path = folder / Path(file).name
        if not path.is_file():
            raise ExportError(f"{path} is missing; export needs all weights as safetensors, in one file or in shards")
        for name, stored in read_index(path).items():
            short = name.removeprefix("model.")
            if short in tensors:
                raise ExportError(
                    f"{folder} holds {short} twice, in {tensors[short].path.name} and in {path.name}; use a "
                    "checkpoint that has each tensor once"
                )
            tensors[short] = stored
    return tensors


def _gguf_error(source: str) -> ExportError:
    return ExportError(
        f"{source} is in GGUF, whose weights are quantized for llama.cpp; use the folder with safetensors from which "
        "it was made, and let export quantize it, with --precision int8"
    )


def _check_names(folder: Path, tensors: Mapping[str, StoredTensor], *, layers: int) -> None:
    """Make sure that no tensor is left out of the graph without a word.

    Raises:
        ExportError: There is a tensor that a Qwen3 model does not have.
    """
    layer = "|".join(map(str, range(layers)))
    known = re.compile(rf"(layers\.({layer})\.({_LAYER})\.weight)|embed_tokens\.weight|norm\.weight|{_ELSEWHERE}")
    unknown = sorted(name for name in tensors if not known.fullmatch(name))
    if unknown:
        more = f" and {len(unknown) - 1} more tensors" if len(unknown) > 1 else ""
        raise ExportError(
            f"{folder} holds {unknown[0]}{more}, which a Qwen3 model of {layers} layers does not have; use a model "
            "that transformers loads without unexpected weights"
        )
