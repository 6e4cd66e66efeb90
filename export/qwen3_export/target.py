"""What a graph is made for: a device, and a release of ONNX Runtime with the operators that it has.

Knows nothing about graphs, so that `--help` need not load ONNX.
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
Release = tuple[int, int]

# The first release with each operator that not every release has. Source: what the releases' own packages, 1.22 to
# 1.31, register (onnxruntime_pybind11_state.get_all_operator_schema), and the messages in their CUDA libraries.
_FIRST_RELEASE: dict[str, Release] = {
    "RMSNormalization": (1, 23),
    "PagedAttention": (1, 23),
    "PagedAttention before Ampere": (1, 26),  # without flash attention; only fp16 is for such GPUs
    "PagedAttention with q/k norm": (1, 29),
}
# On CPUs the oldest that can run the graph; on CUDA the one in Triton's container 26.07.
_DEFAULT_RELEASE: dict[Device, Release] = {"cpu": (1, 23), "cuda": (1, 27)}
_DEFAULT_PRECISION: dict[Device, Precision] = {"cpu": "fp32", "cuda": "bf16", "tensorrt": "bf16"}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a graph will run.

    Attributes:
        device: `cpu`, `cuda`, or `tensorrt`, for which the rest says nothing: see `tensorrt`.
        release: Of ONNX Runtime: major and minor number.
        attention: `gqa`: GroupQueryAttention over a padded rectangle; `paged`: PagedAttention over packed rows,
            of which only CUDA has a kernel.
    """

    device: Device = "cpu"
    release: Release = _DEFAULT_RELEASE["cpu"]
    attention: Attention = "gqa"

    @property
    def norms_inside(self) -> bool:
        """Whether the attention operator normalises queries and keys itself."""
        return self.attention == "paged" and self.release >= _FIRST_RELEASE["PagedAttention with q/k norm"]

    @property
    def ort_version(self) -> str:
        """The release as people write it: `1.27`."""
        return _written(self.release)


def choose_target(
    *, device: Device, precision: Precision, ort_version: str | None = None, attention: Attention | None = None
) -> Target:
    """Complete what the user said about the target.

    Args:
        device: `cpu`, `cuda` or `tensorrt`.
        precision: One that the device has.
        ort_version: The release of ONNX Runtime, such as `1.27`; by the device if None.
        attention: The attention operator; the best that the release has for the device if None.

    Raises:
        ExportError: The release lacks an operator, or the device has no kernel for it.
    """
    if attention not in (None, *ATTENTIONS):
        raise ExportError(f"there is no attention {attention!r}; choose one of {', '.join(ATTENTIONS)}")
    if device == "tensorrt":
        if ort_version is not None or attention is not None:
            raise ExportError(
                "--ort-version and --attention are for ONNX Runtime's graphs; leave them out for TensorRT"
            )
        return Target(device)
    release = _DEFAULT_RELEASE[device] if ort_version is None else _parsed(ort_version)
    _require(release, "RMSNormalization", "the container's 1.27, or any from 1.23 on: --ort-version 1.27")
    if attention == "paged":
        if device == "cpu":
            raise ExportError("PagedAttention runs on CUDA alone; leave --attention out, or say --device cuda")
        _require(release, "PagedAttention", "--attention gqa")
    pages = _FIRST_RELEASE["PagedAttention before Ampere" if precision == "fp16" else "PagedAttention"]
    best: Attention = "paged" if device == "cuda" and release >= pages else "gqa"
    return Target(device, release, attention or best)


def choose_precision(device: Device, precision: Precision | None = None) -> Precision:
    """The precision of an export: the user's, or the device's default.

    Raises:
        ExportError: There is no such device or precision, or not both together.
    """
    if device not in DEVICES:
        raise ExportError(f"there is no device {device!r}; choose one of {', '.join(DEVICES)}")
    if precision is None:
        return _DEFAULT_PRECISION[device]
    if precision not in PRECISIONS:
        raise ExportError(f"there is no precision {precision!r}; choose one of {', '.join(PRECISIONS)}")
    if device == "tensorrt" and precision not in FOR_TENSORRT:
        raise ExportError(f"{precision} is for CPUs; for TensorRT choose {', '.join(FOR_TENSORRT)}")
    if device == "cpu" and precision in FOR_CUDA:
        raise ExportError(f"{precision} needs a GPU: add --device cuda, or choose fp32 or int8")
    if device == "cuda" and precision not in FOR_CUDA:
        raise ExportError(f"{precision} is for CPUs; on CUDA choose {' or '.join(FOR_CUDA)}")
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
        raise ExportError(f"--ort-version {ort_version} is no release of ONNX Runtime; one looks like 1.27")
    return int(match[1]), int(match[2])


def _written(release: Release) -> str:
    return f"{release[0]}.{release[1]}"
