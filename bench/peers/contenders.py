"""The contenders: for each, its environment, worker, options, and how it appears in tables.

A contender is one way of running the same checkpoint; a peer is a contender that is not qwen3-triton. This module knows
nothing about processes or clocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Precision = Literal["fp32", "bf16", "int8"]


@dataclass(frozen=True, slots=True)
class Environment:
    """The virtual environment of a peer.

    Attributes:
        name: The name of its folder.
        packages: What pip installs, with pinned versions.
        settings: Environment variables of the installation, for packages that are compiled.
        removed: Packages that pip installs with the others and that must be removed again.
    """

    name: str
    packages: tuple[str, ...]
    settings: Mapping[str, str] = field(default_factory=dict)
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Contender:
    """One way of running the checkpoint.

    Attributes:
        name: Its name in results and on the command line.
        label: Its name in tables and plots.
        precision: The precision of its products, which decides what it is compared with.
        worker: The module of its process.
        environment: The environment in which the process runs; None for this project's own.
        options: What the worker's `load` needs; `{...}` stands for a folder of `Folders`.
        widths: Batch sizes, of which the best is used; or numbers of clients, each of which is measured.
        clients: Whether the widths are numbers of clients.
        served_from: For a contender behind a server, the name of the same engine in process.
        floor: The smallest cosine with the reference; below it, the contender does not compute the same function.
    """

    name: str
    label: str
    precision: Precision
    worker: str
    environment: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    widths: tuple[int, ...] = (1, 4, 8, 16, 32)
    clients: bool = False
    served_from: str | None = None
    floor: float = 0.999

    @property
    def ours(self) -> bool:
        """Whether it is this project."""
        return self.environment is None


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders of the benchmark, all inside one folder."""

    work: Path

    @property
    def checkpoint(self) -> Path:
        """The random checkpoint."""
        return self.work / "checkpoint"

    def fill(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return options in which the names of folders are replaced by their paths."""
        paths = {"work": str(self.work), "checkpoint": str(self.checkpoint)}
        return {key: value.format(**paths) if isinstance(value, str) else value for key, value in options.items()}


_TORCH = "torch==2.13.0"

ENVIRONMENTS = (
    Environment(
        "torch",
        (_TORCH, "sentence-transformers==5.7.0", "transformers==4.57.6", "optimum-onnx[onnxruntime]==0.1.0"),
    ),
    Environment(
        "openvino",
        (_TORCH, "openvino==2026.4.1", "optimum-intel==2.2.0", "nncf==3.4.0"),
        removed=("torchvision",),  # it is built for another torch, and transformers fails to import it
    ),
    Environment("fastembed", ("fastembed==0.9.1",)),
    Environment("fastretrieval", ("fastretrieval==1.12.0", "onnx==1.23.2")),
    Environment("infinity", (_TORCH, "infinity-emb[optimum,torch]==0.0.78")),
    Environment(
        "llama",
        ("gguf==0.19.0", "llama-cpp-python==0.3.36"),
        {"CMAKE_ARGS": "-DGGML_NATIVE=ON -DLLAMA_BUILD_TOOLS=OFF -DMTMD_BUILD=OFF", "CMAKE_BUILD_PARALLEL_LEVEL": "2"},
    ),
)


def _ours(precision: Precision) -> tuple[Contender, Contender]:
    name, label = f"qwen3-triton-{precision}", f"qwen3-triton {precision}"
    options = {"directory": f"{{work}}/exports/{precision}"}
    floor = 0.99 if precision == "int8" else 0.99999
    in_process = Contender(
        name, f"{label}, in process", precision, "embedded", options=options, widths=(32,), floor=floor
    )
    served = Contender(
        f"{name}-served",
        f"{label}, through Triton",
        precision,
        "triton_server",
        options=options,
        widths=(1, 8, 32),
        clients=True,
        served_from=name,
        floor=floor,
    )
    return in_process, served


def _torch(precision: Precision, dtype: str) -> Contender:
    return Contender(
        f"sentence-transformers-{precision}",
        f"sentence-transformers {precision}",
        precision,
        "sentence_transformer",
        "torch",
        {"backend": "torch", "checkpoint": "{checkpoint}", "dtype": dtype},
    )


def _openvino(precision: Precision, hint: str) -> Contender:
    kept = "int8" if precision == "int8" else "f32"
    return Contender(
        f"openvino-{precision}",
        f"OpenVINO {precision}",
        precision,
        "openvino_runtime",
        "openvino",
        {"checkpoint": "{checkpoint}", "folder": f"{{work}}/openvino-{kept}", "precision": hint, "group": 32},
        floor=0.99 if precision == "int8" else 0.999,
    )


def _llama(precision: Precision, type_name: str) -> Contender:
    return Contender(
        f"llama.cpp-{type_name}",
        f"llama.cpp {type_name}",
        precision,
        "llama_engine",
        "llama",
        {
            "checkpoint": "{checkpoint}",
            "file": f"{{work}}/{type_name}.gguf",
            "type": type_name,
            "repack": type_name != "Q8_0",
        },
        floor=0.99,
    )


_ONNX = {"backend": "onnx", "checkpoint": "{checkpoint}", "folder": "{work}/onnx"}

CONTENDERS: Sequence[Contender] = (
    *_ours("int8"),
    *_ours("fp32"),
    _torch("bf16", "bfloat16"),
    _torch("fp32", "float32"),
    Contender(
        "sentence-transformers-onnx", "sentence-transformers ONNX fp32", "fp32", "sentence_transformer", "torch", _ONNX
    ),
    _openvino("bf16", "bf16"),
    _openvino("int8", "int8"),
    _openvino("fp32", "f32"),
    _llama("bf16", "BF16"),
    _llama("int8", "Q8_0"),
    Contender(
        "fastembed",
        "fastembed fp32",
        "fp32",
        "fastembed_engine",
        "fastembed",
        {"folder": "{work}/onnx", "dimensions": 1024},
    ),
    Contender(
        "fastretrieval",
        "fastretrieval int8",
        "int8",
        "fastretrieval_engine",
        "fastretrieval",
        {"exported": "{work}/onnx", "folder": "{work}/fastretrieval-int8"},
        widths=(1,),
        floor=0.99,
    ),
    Contender(
        "infinity",
        "infinity bf16",
        "bf16",
        "infinity_engine",
        "infinity",
        {"checkpoint": "{checkpoint}", "dtype": "bfloat16"},
    ),
)
# For daily work: ours in process and served, and the closest peers.
QUICK = (
    "qwen3-triton-int8",
    "qwen3-triton-int8-served",
    "qwen3-triton-fp32",
    "sentence-transformers-bf16",
    "openvino-bf16",
    "openvino-int8",
)
