"""What a graph is made for: a device, and a release of ONNX Runtime, which decides what operators there are.

Knows nothing about graphs, so that `--help` need not import ONNX.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from .errors import ExportError
from .precision import FOR_CUDA, FOR_TENSORRT, PRECISIONS, Precision

Device = Literal["cpu", "cuda", "tensorrt"]
DEVICES: tuple[Device, ...] = ("cpu", "cuda", "tensorrt")
Attention = Literal["gqa", "paged"]
ATTENTIONS: tuple[Attention, ...] = ("gqa", "paged")
AttentionForm = Literal["gqa", "paged", "ragged"]
Release = tuple[int, int]

# The first release with each operator that not every release has. Source: the operators that the packages of releases
# 1.22 to 1.31 register (onnxruntime_pybind11_state.get_all_operator_schema), and messages in their CUDA libraries.
_FIRST_RELEASE: dict[str, Release] = {
    "RMSNormalization": (1, 23),
    "PagedAttention": (1, 23),
    "PagedAttention before Ampere": (1, 26),  # without flash attention; fp16 is the precision for such GPUs
    "SkipSimplifiedLayerNormalization that sums bf16 in float32": (1, 27),
    "PagedAttention with q/k norm": (1, 29),  # and with bounds on the lengths, as metadata
    "PagedAttention with a lower bound": (1, 30),
    "ScaledSiLU on CUDA": (1, 31),
}
# For CPUs, the oldest release that can run the graph; for CUDA, the release in Triton's container 26.07.
_DEFAULT_RELEASE: dict[Device, Release] = {"cpu": (1, 23), "cuda": (1, 27)}
_DEFAULT_PRECISION: dict[Device, Precision] = {"cpu": "fp32", "cuda": "bf16", "tensorrt": "bf16"}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a graph will run.

    Attributes:
        device: `cpu`, `cuda` or `tensorrt`. For `tensorrt` the other attributes have no meaning.
        release: The release of ONNX Runtime, its major and minor number.
        attention: `gqa` is GroupQueryAttention over a padded batch; `paged` is PagedAttention over packed rows, for
            which only CUDA has a kernel; `ragged` is the project's own operator for CPUs, over packed rows too. It is
            nobody's choice: an export for CPUs has a second graph with it.
    """

    device: Device = "cpu"
    release: Release = _DEFAULT_RELEASE["cpu"]
    attention: AttentionForm = "gqa"

    @property
    def norms_inside(self) -> bool:
        """Whether the attention operator normalises queries and keys itself."""
        if self.attention == "paged":
            return self.release >= _FIRST_RELEASE["PagedAttention with q/k norm"]
        return self.attention == "ragged"

    @property
    def metadata_size(self) -> int:
        """How many bounds on the texts' lengths PagedAttention takes; 0 if none."""
        if self.attention != "paged" or not self.norms_inside:
            return 0
        return 3 if self.release >= _FIRST_RELEASE["PagedAttention with a lower bound"] else 2

    @property
    def has_silu(self) -> bool:
        """Whether SiLU is one operator that computes in half precisions."""
        return self.device == "cuda" and self.release >= _FIRST_RELEASE["ScaledSiLU on CUDA"]

    @property
    def ort_version(self) -> str:
        """The release as text: `1.27`."""
        return _written(self.release)


def choose_target(
    *, device: Device, precision: Precision, ort_version: str | None = None, attention: Attention | None = None
) -> Target:
    """Choose the target of an export: the user's wishes, completed by defaults.

    Args:
        device: `cpu`, `cuda` or `tensorrt`.
        precision: A precision that the device has.
        ort_version: The release of ONNX Runtime, such as `1.27`; None for the device's default.
        attention: The attention operator; None for the best that the release has for the device.

    Raises:
        ExportError: The release lacks an operator, or the device has no kernel for it.
    """
    if attention not in (None, *ATTENTIONS):
        raise ExportError(f"there is no attention {attention!r}; choose one of {', '.join(ATTENTIONS)}")
    if device == "tensorrt":
        if ort_version is not None or attention is not None:
            raise ExportError(
                "--ort-version and --attention are for graphs that ONNX Runtime runs; leave them out for TensorRT"
            )
        return Target(device)
    release = _DEFAULT_RELEASE[device] if ort_version is None else _parsed(ort_version)
    _require(release, "RMSNormalization", "a release from 1.23 on, such as that of the container: --ort-version 1.27")
    if precision == "bf16-residual":
        _require(release, "SkipSimplifiedLayerNormalization that sums bf16 in float32", "--precision bf16")
    if attention == "paged":
        if device == "cpu":
            raise ExportError("PagedAttention runs on CUDA only; leave --attention out, or add --device cuda")
        _require(release, "PagedAttention", "--attention gqa")
    first_paged = _FIRST_RELEASE["PagedAttention before Ampere" if precision == "fp16" else "PagedAttention"]
    best: Attention = "paged" if device == "cuda" and release >= first_paged else "gqa"
    return Target(device, release, attention or best)


def choose_precision(device: Device, precision: Precision | None = None) -> Precision:
    """Choose the precision of an export: the user's, or the device's default.

    Raises:
        ExportError: The device or the precision does not exist, or the device does not have the precision.
    """
    if device not in DEVICES:
        raise ExportError(f"there is no device {device!r}; choose one of {', '.join(DEVICES)}")
    if precision is None:
        return _DEFAULT_PRECISION[device]
    if precision not in PRECISIONS:
        raise ExportError(f"there is no precision {precision!r}; choose one of {', '.join(PRECISIONS)}")
    if device == "tensorrt" and precision not in FOR_TENSORRT:
        raise ExportError(f"{precision} is not for TensorRT; choose one of {', '.join(FOR_TENSORRT)}")
    if device == "cpu" and precision in FOR_CUDA:
        raise ExportError(f"{precision} needs a GPU: add --device cuda, or choose fp32 or int8")
    if device == "cuda" and precision not in FOR_CUDA:
        raise ExportError(f"{precision} is for CPUs; on CUDA choose one of {', '.join(FOR_CUDA)}")
    return precision


def _require(release: Release, operator: str, choice: str) -> None:
    first = _FIRST_RELEASE[operator]
    if release < first:
        raise ExportError(
            f"ONNX Runtime {_written(release)} has no {operator}, which came with {_written(first)}; choose {choice}"
        )


def _parsed(ort_version: str) -> Release:
    match = re.fullmatch(r"(\d+)\.(\d+)(\.\d+)?", ort_version)
    if match is None:
        raise ExportError(f"--ort-version {ort_version} is not a release of ONNX Runtime; write it like 1.27")
    return int(match[1]), int(match[2])


def _written(release: Release) -> str:
    return f"{release[0]}.{release[1]}"
