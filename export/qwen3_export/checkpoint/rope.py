"""The rotary position embedding that a config.json asks for: the plain one, or one scaled by YaRN.

transformers 5 writes `rope_parameters`; earlier releases write `rope_theta` and `rope_scaling`. Knows nothing about
tables and graphs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ExportError
from .config_keys import FORMS

_OBJECTS = ("rope_parameters", "rope_scaling")
_OF_YARN = {
    "factor": "a positive number",
    "original_max_position_embeddings": "a positive whole number",
    "attention_factor": "a positive number",
    "beta_fast": "a positive number",
    "beta_slow": "a positive number",
    "mscale": "a positive number",
    "mscale_all_dim": "a positive number",
    "truncate": "true or false",
}


@dataclass(frozen=True, slots=True)
class Yarn:
    """The scaling of YaRN, Peng et al., 2023: https://arxiv.org/abs/2309.00071.

    Attributes:
        factor: By how much the slow frequencies are divided.
        original_positions: The positions that the model was trained with, in tokens.
        attention_factor: What cosines and sines are multiplied by.
        beta_fast: Frequencies that turn more often than this over the original positions are not scaled.
        beta_slow: Frequencies that turn less often than this are divided by `factor`. Between both it is a ramp.
        truncate: Whether the ends of the ramp are rounded to whole frequencies.
    """

    factor: float
    original_positions: int
    attention_factor: float
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True


@dataclass(frozen=True, slots=True)
class Rope:
    """A rotary embedding.

    Attributes:
        theta: Its base.
        yarn: The scaling; None for the plain embedding.
    """

    theta: float
    yarn: Yarn | None = None

    @property
    def attention_factor(self) -> float:
        """What cosines and sines are multiplied by."""
        return 1.0 if self.yarn is None else self.yarn.attention_factor

    def frequencies(self, head_dim: int) -> npt.NDArray[np.float32]:
        """Return the angle per position of each pair of elements, float32 `[head_dim / 2]`."""
        # float32 in every step, as in transformers, so that the tables agree at late positions too.
        exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
        powers = np.float32(self.theta) ** exponents
        plain: npt.NDArray[np.float32] = np.float32(1) / powers
        if self.yarn is None:
            return plain
        scaled = np.float32(1) / (np.float32(self.yarn.factor) * powers)
        ramp = self._ramp(self.yarn, head_dim)
        mixed: npt.NDArray[np.float32] = scaled * ramp + plain * (np.float32(1) - ramp)
        return mixed

    def _ramp(self, yarn: Yarn, head_dim: int) -> npt.NDArray[np.float32]:
        """Return how far each frequency is scaled, from 0 to 1, float32 `[head_dim / 2]`."""
        # Source: _compute_yarn_parameters in transformers' modeling_rope_utils.py, with its rounding and its bounds.
        low, high = (
            head_dim * math.log(yarn.original_positions / (turns * 2 * math.pi)) / (2 * math.log(self.theta))
            for turns in (yarn.beta_fast, yarn.beta_slow)
        )
        if yarn.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, head_dim - 1)
        width = high - low if high != low else 0.001
        indices = np.arange(head_dim // 2, dtype=np.float32)
        ramp: npt.NDArray[np.float32] = np.clip((indices - np.float32(low)) / np.float32(width), 0, 1)
        return ramp


def read_rope(config: Mapping[str, Any]) -> Rope:
    """Read the rotary embedding of a `config.json`.

    Raises:
        ExportError: It is scaled in a way that export does not support, or the forms contradict each other.
        KeyError: There is no base.
    """
    found = set()
    for key in _OBJECTS:
        if rope := config.get(key):
            found.add(_read_yarn(rope, key, positions=config.get("max_position_embeddings")))
        theta = (rope or {}).get("rope_theta")
        if theta is not None and not FORMS["a positive number"](theta):
            raise ExportError(
                f"config.json has rope_theta = {theta!r} in {key}, which is not a positive number; use the file that "
                "came with the checkpoint"
            )
    if len(found) > 1:
        raise ExportError(
            "config.json asks for two rotary embeddings, in rope_parameters and in rope_scaling; use the file that "
            "came with the checkpoint"
        )
    sources = [config, *(config.get(key) or {} for key in _OBJECTS)]
    bases = {float(source["rope_theta"]) for source in sources if source.get("rope_theta") is not None}
    if len(bases) > 1:
        raise ExportError(
            f"config.json has two values of rope_theta, {' and '.join(map(str, sorted(bases)))}; use the file that "
            "came with the checkpoint"
        )
    if not bases:
        raise KeyError("rope_theta")
    rope_theta, yarn = bases.pop(), found.pop() if found else None
    if yarn is not None and rope_theta == 1:
        raise ExportError(
            "config.json has rope_theta = 1, with which yarn has no frequencies to scale; use the file that came with "
            "the checkpoint"
        )
    return Rope(rope_theta, yarn)


def _read_yarn(rope: Mapping[str, Any], key: str, *, positions: int | None) -> Yarn | None:
    """Return what one of the two objects asks for; None for the plain embedding."""
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind not in ("default", "yarn"):
        native = rope.get("original_max_position_embeddings", "its native number of")
        raise ExportError(
            f"config.json asks for {kind!r} rope scaling in {key}, which export does not support; use a config.json "
            f"without it, and with max_position_embeddings for {native} tokens"
        )
    stated = {name: value for name, value in rope.items() if name not in ("rope_type", "type", "rope_theta")}
    if stated.get("partial_rotary_factor") == 1:
        del stated["partial_rotary_factor"]
    of_yarn = _OF_YARN if kind == "yarn" else {}
    for name, value in stated.items():
        if name not in of_yarn:
            raise ExportError(
                f"config.json has {name} = {value!r} in {key}, which export does not support; use a model whose "
                "rotary embedding is plain, or scaled by yarn"
            )
        if value is not None and not FORMS[of_yarn[name]](value):
            raise ExportError(
                f"config.json has {name} = {value!r} in {key}, which is not {of_yarn[name]}; use the file that came "
                "with the checkpoint"
            )
    if kind == "default":
        return None
    factor, original = stated.get("factor"), stated.get("original_max_position_embeddings", positions)
    if factor is None or original is None:
        raise ExportError(
            f"config.json asks for yarn in {key} without a factor, or without a number of positions; use the file that "
            "came with the checkpoint"
        )
    return Yarn(
        factor=float(factor),
        original_positions=original,
        attention_factor=_attention_factor(stated, float(factor)),
        beta_fast=float(stated.get("beta_fast") or 32),
        beta_slow=float(stated.get("beta_slow") or 1),
        truncate=stated.get("truncate") is not False,
    )


def _attention_factor(stated: Mapping[str, Any], factor: float) -> float:
    """Return the stated factor, or the one that the paper suggests, as transformers computes it."""
    if stated.get("attention_factor") is not None:
        return float(stated["attention_factor"])

    def suggested(scale: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0

    if stated.get("mscale") and stated.get("mscale_all_dim"):
        return suggested(stated["mscale"]) / suggested(stated["mscale_all_dim"])
    return suggested(1.0)
