"""Finding the checkpoint that an exported model is compared with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .errors import VerifyError
from .model_directory import ModelDirectory

TINY = "tiny"  # what the manifest names as the source of an export of the random checkpoint
DEMO = "demo"  # and as that of the trained one that comes with the package
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(frozen=True, slots=True)
class Source:
    """A checkpoint that transformers can open.

    Attributes:
        name_or_path: A Hub id, or the path of a folder.
        revision: The commit on the Hub; None for its main branch, and for a folder.
    """

    name_or_path: str
    revision: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether it is a folder on this machine."""
        return Path(self.name_or_path).is_dir()


def find_source(model: ModelDirectory, *, given: str | None = None) -> Source:
    """Find the checkpoint of a model.

    Args:
        model: The exported model, whose manifest names its source.
        given: The checkpoint that the user gave instead.

    Raises:
        VerifyError: It cannot be found; the message says how to give it.
    """
    if model.adapter and given is None:
        raise VerifyError(
            f"{model.name} was exported with the adapter {model.adapter}; merge it into the checkpoint with PEFT's "
            "merge_and_unload, save that, and pass --source <merged folder>"
        )
    name_or_path = model.source if given is None else given
    if given is not None and Path(given).is_dir():
        return Source(given)
    if name_or_path == DEMO:
        return Source(str(Path(__file__).parents[1] / DEMO))
    if name_or_path == TINY:
        raise VerifyError(
            f"{model.name} was exported from {TINY}, a temporary checkpoint that does not exist any more; "
            "pass --source <checkpoint folder> to compare with another, or --files to check the files only"
        )
    if given is None and Path(name_or_path).is_absolute():
        if not Path(name_or_path).is_dir():
            raise VerifyError(
                f"{model.name} was exported from {name_or_path}, which is not on this machine; "
                "pass --source <checkpoint folder or Hub id>"
            )
        return Source(name_or_path)
    if not _HUB_ID.fullmatch(name_or_path):
        raise VerifyError(
            f"there is no folder {name_or_path}, and it is not a Hub id either; a Hub id looks like "
            "Qwen/Qwen3-Embedding-0.6B"
        )
    return Source(name_or_path, model.revision or None if name_or_path == model.source else None)
