"""Where the checkpoint is that an exported model is compared with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .errors import VerifyError
from .model_directory import ModelDirectory

TINY = "tiny"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(frozen=True, slots=True)
class Source:
    """A checkpoint that transformers can open.

    Attributes:
        place: A folder, or a Hub id.
        revision: The commit on the Hub; None for its main branch, and for a folder.
    """

    place: str
    revision: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether it is a folder on this machine."""
        return Path(self.place).is_dir()


def find_source(model: ModelDirectory, *, given: str | None = None) -> Source:
    """Find the checkpoint of a model.

    Args:
        model: The exported model, whose manifest names its source.
        given: What the user named instead.

    Raises:
        VerifyError: It cannot be found; the message says how to name it.
    """
    place = model.source if given is None else given
    if given is not None and Path(given).is_dir():
        return Source(given)
    if place == TINY:
        raise VerifyError(
            f"{model.name} was exported from {TINY}, a checkpoint made on the spot that is gone; "
            "pass --source <checkpoint folder> to compare, or --files to check its files alone"
        )
    if given is None and Path(place).is_absolute():
        if not Path(place).is_dir():
            raise VerifyError(
                f"{model.name} was exported from {place}, which is not on this machine; "
                "pass --source <checkpoint folder or Hub id>"
            )
        return Source(place)
    if not _HUB_ID.fullmatch(place):
        raise VerifyError(f"there is no folder {place}, and a Hub id looks like Qwen/Qwen3-Embedding-0.6B")
    return Source(place, model.revision or None if place == model.source else None)
