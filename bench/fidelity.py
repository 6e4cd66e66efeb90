"""Fidelity, size, memory and speed of each CPU precision, at the 0.6B shape.

    make fidelity                    # writes docs/fidelity.md; about twenty minutes on two cores
    python bench/fidelity.py WORK    # WORK keeps the checkpoints and exports, some 12 GB

The weights are random, of the published 0.6B shape. Speed, memory and arithmetic are as with the published weights;
what the vectors mean is not tested.

With random weights, all channels have activations of similar size. In trained decoders, the activations of a few
channels are larger by orders of magnitude, which is what makes int8 inaccurate. The outlier checkpoint has such
channels too: some channels of every norm's gain and of the MLP's inner activations are multiplied by 50 to 1000, and
the matrices that read them are divided by the same. In float32 this is the same function; only the activations in
between are harder to quantize. (Without the division, the random network becomes chaotic, and no precision except fp32
agrees with it.)

Besides the precisions that export offers, some mixtures are measured: int8 with another precision for down_proj, which
reads the MLP's inner activations; and each of them without equalised channels.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from qwen3_export import export
from qwen3_export.checkpoint.checkpoint import open_checkpoint
from qwen3_export.checkpoint.equalise import equalise
from qwen3_export.checkpoint.random_checkpoint import published_config, write_random_checkpoint
from qwen3_export.checkpoint.stored_tensor import StoredTensor, read_index
from qwen3_export.checkpoint.tiny import write_byte_tokenizer
from qwen3_export.cpu import open_session
from qwen3_export.graph.arithmetic import Arithmetic
from qwen3_export.graph.onnx_file import build_graph, write_model
from qwen3_export.graph.products import Products, products
from qwen3_export.precision import FOR_CUDA, PRECISIONS, QUANTIZED, Precision

if TYPE_CHECKING:
    import onnxruntime as ort

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "fidelity.md"
ROUNDS = 3

CONFIG = published_config("0.6B")
OUTLIERS = np.array([50, 100, 200, 500, 1000], np.float32)  # factors of the enlarged channels

Texts = Sequence[npt.NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the products of a model are computed.

    Attributes:
        precision: The precision of every product except down_proj.
        down: The precision of down_proj.
        equalised: Whether channels are equalised first.
    """

    precision: Precision
    down: Precision
    equalised: bool

    @property
    def name(self) -> str:
        """The name of its folder."""
        if self in EXPORTED:
            return self.precision
        return f"{self.precision}-down-{self.down}-{'' if self.equalised else 'un'}equalised"


EXPORTED = [Recipe(p, p, p in QUANTIZED) for p in PRECISIONS if p not in FOR_CUDA]
FP32, INT8 = EXPORTED[:2]
MIXTURES = [Recipe("int8", down, equalised) for down in ("int8", "int8-weight", "fp32") for equalised in (True, False)]


@dataclass(frozen=True)
class MixedArithmetic(Arithmetic):
    """Arithmetic with another precision for down_proj."""

    down: Precision = "fp32"

    def products(self, *parts: StoredTensor) -> Products:
        """Return the products of one input with each matrix."""
        return products(self.down if parts[0].name.endswith("down_proj.weight") else self.precision, *parts)


@dataclass(slots=True)
class Figures:
    """The measurements of one recipe."""

    megabytes: float = 0
    memory_gib: float = 0
    tokens_per_s: float = 0
    query_ms: float = 0
    largest: float = 0
    cosine: dict[str, float] = field(default_factory=dict)


def main(work: Path) -> None:
    """Measure everything and write the document."""
    work.mkdir(parents=True, exist_ok=True)
    checkpoints = {"plain": work / "plain", "outliers": work / "outliers"}
    if not (checkpoints["plain"] / "tokenizer.json").exists():
        shutil.rmtree(checkpoints["plain"], ignore_errors=True)
        checkpoints["plain"].mkdir()
        write_random_checkpoint(checkpoints["plain"], CONFIG)
        write_byte_tokenizer(checkpoints["plain"])
    write_outliers(checkpoints["plain"], checkpoints["outliers"])

    texts = documents()
    figures = {recipe: Figures() for recipe in [*EXPORTED, *MIXTURES]}
    for name, checkpoint in checkpoints.items():
        reference = None
        for recipe, measured in figures.items():
            directory = work / "exports" / name / recipe.name
            write_model_directory(recipe, checkpoint, directory)
            vectors = embed(session(directory), texts)
            reference = vectors if reference is None else reference
            measured.cosine[name] = float((vectors * reference).sum(axis=1).min())
            print(f"{name:8} {recipe.name:32} smallest cosine with fp32 {measured.cosine[name]:.5f}", flush=True)
            if name == "plain":
                measured.largest = float(np.abs(vectors - reference).max())
                measured.megabytes = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()) / 1e6
            else:
                shutil.rmtree(directory)
    measure_speed(work / "exports" / "plain", figures)
    DOCUMENT.write_text(page(figures), "utf-8")
    print(f"wrote {DOCUMENT}")


def write_model_directory(recipe: Recipe, checkpoint: Path, directory: Path) -> None:
    """Export a checkpoint; for a mixture, write the graph and its weights only, which are nearly all of the size."""
    if recipe in EXPORTED:
        export(
            str(checkpoint), repository=directory.parent, name=directory.name, precision=recipe.precision, force=True
        )
        return
    opened = open_checkpoint(str(checkpoint))
    model = build_graph(
        equalise(opened) if recipe.equalised else opened, MixedArithmetic(recipe.precision, down=recipe.down)
    )
    (directory / "1").mkdir(parents=True, exist_ok=True)
    write_model(model, directory / "1" / "model.onnx")


def documents() -> list[npt.NDArray[np.int64]]:
    """Return 24 texts of 8 to 256 random tokens."""
    random = np.random.default_rng(2)
    return [random.integers(0, 151_643, n, dtype=np.int64) for n in np.geomspace(8, 256, 24).astype(int)]


def write_outliers(plain: Path, target: Path) -> None:
    """Copy a checkpoint with enlarged channels, as the module's docstring describes."""
    if (target / "tokenizer.json").exists():
        return
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for file in ("config.json", "model.safetensors.index.json"):
        shutil.copyfile(plain / file, target / file)
    hidden = np.linspace(3, CONFIG["hidden_size"] - 5, OUTLIERS.size).astype(int)
    inner = np.linspace(7, CONFIG["intermediate_size"] - 9, OUTLIERS.size).astype(int)
    down = 1 / OUTLIERS
    for path in sorted(plain.glob("*.safetensors")):
        shard = {name: np.array(stored.map()) for name, stored in read_index(path).items()}
        for name, values in shard.items():
            if name.endswith(("input_layernorm.weight", "post_attention_layernorm.weight")):
                values[hidden] = (values[hidden].astype(np.float32) * OUTLIERS).astype(values.dtype)
            if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight", "gate_proj.weight", "up_proj.weight")):
                values[:, hidden] = (values[:, hidden].astype(np.float32) * down).astype(values.dtype)
            if name.endswith("up_proj.weight"):
                values[inner] = (values[inner].astype(np.float32) * OUTLIERS[:, None]).astype(values.dtype)
            if name.endswith("down_proj.weight"):
                values[:, inner] = (values[:, inner].astype(np.float32) * down).astype(values.dtype)
        safetensors.numpy.save_file(shard, target / path.name)
    write_byte_tokenizer(target)


def session(directory: Path, *, threads: int = 0) -> ort.InferenceSession:
    """Open the graph of a model directory with the embedded host's settings; 0 threads stand for one per core."""
    return open_session(directory / "1" / "model.onnx", threads=threads)


def embed(model: ort.InferenceSession, texts: Texts) -> npt.NDArray[np.float32]:
    """Embed texts in packed batches of up to 512 tokens; returns `[n, 1024]`, in order."""
    rows: list[npt.NDArray[np.float32]] = []
    batch: list[npt.NDArray[np.int64]] = []
    for text in [*texts, None]:
        if batch and (text is None or sum(t.size for t in batch) + text.size > 512):
            lengths = np.array([[t.size] for t in batch], np.int32)
            rows.extend(model.run(None, {"input_ids": np.concatenate(batch), "lengths": lengths})[0])
            batch = []
        if text is not None:
            batch.append(text)
    return np.stack(rows)


def measure_speed(exports: Path, figures: dict[Recipe, Figures]) -> None:
    """Measure the recipes in alternation, each in its own process, and keep the best round.

    The best is the least disturbed one, because other work on the machine can only make it slower.
    """
    samples: dict[Recipe, list[list[float]]] = {recipe: [] for recipe in figures}
    for _ in range(ROUNDS):
        for recipe, taken in samples.items():
            command = [sys.executable, __file__, "--one", str(exports / recipe.name)]
            taken.append(json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))
    for recipe, taken in samples.items():
        seconds, query_s, memory = np.min(taken, axis=0)
        measured = figures[recipe]
        measured.tokens_per_s = sum(text.size for text in documents()) / seconds
        measured.query_ms, measured.memory_gib = 1000 * query_s, memory / 2**30


def one(directory: Path) -> None:
    """Measure one recipe; prints seconds of the documents and of a 16-token query, and bytes of anonymous memory."""
    model, texts = session(directory, threads=1), documents()
    query = texts[0][:1].repeat(16)
    embed(model, texts[:4])
    seconds = processor_s(lambda: embed(model, texts))
    query_s = min(processor_s(lambda: embed(model, [query])) for _ in range(5))
    status = Path("/proc/self/status").read_text()
    anonymous = next(1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))
    print(json.dumps([seconds, query_s, anonymous]))


def processor_s(work: Callable[[], object]) -> float:
    """Return the processor time of a call in seconds."""
    started = time.process_time()
    work()
    return time.process_time() - started


def table(titles: str, rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; titles are separated by `|`."""
    rule = " | ".join("---" for _ in titles.split("|"))
    return "\n".join(f"| {line} |" for line in [titles, rule, *map(" | ".join, rows)])


def page(figures: dict[Recipe, Figures]) -> str:
    """Return the content of docs/fidelity.md."""
    processors = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    precisions = table(
        "precision | cosine | max abs | cosine, outliers | directory | anonymous memory | tokens/s | one query of 16",
        (
            [
                recipe.precision,
                f"{measured.cosine['plain']:.5f}",
                f"{measured.largest:.1e}",
                f"{measured.cosine['outliers']:.5f}",
                f"{measured.megabytes:,.0f} MB",
                f"{measured.memory_gib:.1f} GiB",
                f"{measured.tokens_per_s:.0f} ({measured.tokens_per_s / figures[FP32].tokens_per_s:.1f}x)",
                f"{measured.query_ms:.0f} ms",
            ]
            for recipe, measured in ((recipe, figures[recipe]) for recipe in EXPORTED)
        ),
    )
    mixtures = table(
        "down_proj | equalised | cosine | cosine, outliers | directory | tokens/s against int8",
        (
            [
                recipe.down,
                "yes" if recipe.equalised else "no",
                f"{measured.cosine['plain']:.5f}",
                f"{measured.cosine['outliers']:.5f}",
                f"{measured.megabytes:,.0f} MB",
                f"{measured.tokens_per_s / figures[INT8].tokens_per_s:.2f}x",
            ]
            for recipe, measured in ((recipe, figures[recipe]) for recipe in MIXTURES)
        ),
    )
    return f"""# Fidelity of the CPU precisions

Written by `make fidelity` (bench/fidelity.py describes the method): random weights of the Qwen3-Embedding-0.6B shape,
and 24 texts of 8 to 256 tokens. Each precision is compared with fp32 on the same weights; cosines are the smallest of
all texts. Speeds are those of one core and ONNX Runtime only: the best of {ROUNDS} alternating rounds, in processor
time, which other work on the machine hardly disturbs.

{precisions}

Outliers: as in trained decoders, a few channels of every norm and MLP are 50 to 1000 times as large, and the matrices
that read them are divided by the same. Float32 computes the same function; only quantization becomes less accurate. For
the quantized precisions, export equalises channels (`equalise.py`).

## Mixed int8

This is int8 with another precision for down_proj, which reads the MLP's inner activations, with and without equalised
channels. The first row is what `--precision int8` exports.

{mixtures}

`--precision int8` uses int8 for all products, with equalised channels. No precision of down_proj replaces equalisation,
because the outliers after the norms make the products before down_proj inaccurate too. With equalised channels, another
precision for down_proj raises the cosine by less than 0.001 and costs a quarter to a third of the speed (compare it
with the second row: only the first has this project's own operators, which at least double the speed); float32
also takes a third more space. For more fidelity than that of int8, use int8-weight, which quantizes every product by
blocks.

Equalisation uses weights and no data. Outliers that occur only for certain tokens, and that no weight shows, are not in
this test. `qwen3-triton verify` measures the fidelity of the checkpoint that you serve.

Machine: {processors[0].partition(":")[2].strip()}, {os.cpu_count()} cores. onnxruntime {version("onnxruntime")}.
"""


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        one(Path(sys.argv[2]))
    else:
        main(Path(sys.argv[1]))
