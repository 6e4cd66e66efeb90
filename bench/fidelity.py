"""What each CPU precision costs in fidelity, and gives in size, memory and speed, at the true 0.6B shape.

    make fidelity                    # writes docs/fidelity.md; about twenty minutes on two cores
    python bench/fidelity.py WORK    # WORK keeps the checkpoints and exports, some 12 GB

Random weights of the true shape: speed and memory are true, and so is the arithmetic; what vectors mean is not tested.
Random weights have tame activations. Trained decoders have a few channels whose activations are larger by orders of
magnitude, which is what breaks int8. The outlier checkpoint has them too: channels of every norm's gain and of the
MLP's inner activations times 50 to 1000, and what reads them divided by as much. In float32 it is the same function;
only the activations between are hard to quantise. (Without the division, the random network becomes chaotic: no
precision but fp32 follows it, which says nothing of any.)

Beside the precisions that export offers stand mixtures that it does not: down_proj, which reads the MLP's inner
activations, in another precision than the rest of int8; and each of them without equalised channels.
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
from qwen3_export.precision import FOR_CUDA, PRECISIONS, QUANTISED, Precision

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
        precision: Of every product but down_proj.
        down: Of down_proj.
        equalised: Whether channels are equalised first.
    """

    precision: Precision
    down: Precision
    equalised: bool

    @property
    def name(self) -> str:
        """A name for a folder."""
        if self in EXPORTED:
            return self.precision
        return f"{self.precision}-down-{self.down}-{'' if self.equalised else 'un'}equalised"


EXPORTED = [Recipe(p, p, p in QUANTISED) for p in PRECISIONS if p not in FOR_CUDA]
FP32, INT8 = EXPORTED[:2]
MIXTURES = [Recipe("int8", down, equalised) for down in ("int8", "int8-weight", "fp32") for equalised in (True, False)]


@dataclass(frozen=True)
class MixedArithmetic(Arithmetic):
    """Arithmetic with a precision of its own for down_proj."""

    down: Precision = "fp32"

    def products(self, *parts: StoredTensor) -> Products:
        """The products of one input with each matrix."""
        return products(self.down if parts[0].name.endswith("down_proj.weight") else self.precision, *parts)


@dataclass(slots=True)
class Figures:
    """What was measured of one recipe."""

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
    """Export a checkpoint; of a mixture write the graph and its weights only, which is nearly all."""
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
    """24 texts of 8 to 256 random tokens."""
    random = np.random.default_rng(2)
    return [random.integers(0, 151_643, n, dtype=np.int64) for n in np.geomspace(8, 256, 24).astype(int)]


def write_outliers(plain: Path, target: Path) -> None:
    """Copy a checkpoint with enlarged channels; see the module's text."""
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
    """The graph of a model directory, set up as the embedded host does; 0 threads: one a core."""
    return open_session(directory / "1" / "model.onnx", threads=threads)


def embed(model: ort.InferenceSession, texts: Texts) -> npt.NDArray[np.float32]:
    """Embed texts in packed batches of up to 512 tokens; `[n, 1024]`, in order."""
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
    """Interleave the recipes, one process each and round, and keep the best: other work only ever slows things down."""
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
    """In a process of its own: seconds of the documents, seconds of one 16-token query, bytes of anonymous memory."""
    model, texts = session(directory, threads=1), documents()
    query = texts[0][:1].repeat(16)
    embed(model, texts[:4])
    seconds = processor_s(lambda: embed(model, texts))
    query_s = min(processor_s(lambda: embed(model, [query])) for _ in range(5))
    status = Path("/proc/self/status").read_text()
    anonymous = next(1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))
    print(json.dumps([seconds, query_s, anonymous]))


def processor_s(work: Callable[[], object]) -> float:
    """Seconds of processor time that it takes."""
    started = time.process_time()
    work()
    return time.process_time() - started


def table(titles: str, rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; titles are separated by `|`."""
    rule = " | ".join("---" for _ in titles.split("|"))
    return "\n".join(f"| {line} |" for line in [titles, rule, *map(" | ".join, rows)])


def page(figures: dict[Recipe, Figures]) -> str:
    """docs/fidelity.md."""
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

Written by `make fidelity` (bench/fidelity.py, which says how): random weights of the true Qwen3-Embedding-0.6B shape,
24 texts of 8 to 256 tokens, each precision against fp32 on the same weights. Cosines are the smallest of all texts.
Speeds are of one core, ONNX Runtime only: the best of {ROUNDS} interleaved rounds, in processor time, which other work
on the machine hardly disturbs.

{precisions}

Outliers: a few channels of every norm and MLP enlarged 50 to 1000 times, as trained decoders have them, and what reads
them divided by as much: float32 computes the same function, and only quantisation suffers. Export equalises channels
(`equalise.py`) for the quantised precisions.

## Mixed int8

int8 with down_proj, which reads the MLP's inner activations, in another precision; with and without equalised channels.
The first row is what `--precision int8` exports.

{mixtures}

int8 throughout, with equalised channels, is what was chosen. No precision of down_proj makes up for equalisation: the
outliers behind the norms spoil the products before it as well. Once channels are equalised, another precision of
down_proj raises the cosine by less than a thousandth, and costs a quarter of the speed; float32 also a third more
space. Who wants more fidelity than int8 gives takes int8-weight, which quantises every product by blocks.

Equalisation reads weights, no data: outliers that single tokens cause, and no weight tells of, are not in this test.
`qwen3-triton verify` says what becomes of the checkpoint that you serve.

Machine: {processors[0].partition(":")[2].strip()}, {os.cpu_count()} cores. onnxruntime {version("onnxruntime")}.
"""


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        one(Path(sys.argv[2]))
    else:
        main(Path(sys.argv[1]))
