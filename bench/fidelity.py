"""What each CPU precision costs in fidelity, and gives in size, memory and speed, at the true 0.6B shape.

    make fidelity                    # writes docs/fidelity.md; about ten minutes on two cores
    python bench/fidelity.py WORK    # WORK keeps the checkpoints and exports, some 8 GB

Random weights of the true shape: speed and memory are true, and so is the arithmetic; what vectors mean is not tested.
Random weights have tame activations. Trained decoders have a few channels whose activations are larger by orders of
magnitude, which is what breaks int8. The outlier checkpoint has them too: channels of every norm's gain and of the
MLP's inner activations times 50 to 1000, and what reads them divided by as much. In float32 it is the same function;
only the activations between are hard to quantise. (Without the division, the random network becomes chaotic: no
precision but fp32 follows it, which says nothing of any.)
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import safetensors.numpy
from qwen3_export import export
from qwen3_export._precision import FOR_CUDA, PRECISIONS, Precision
from qwen3_export._random_checkpoint import published_config, write_random_checkpoint
from qwen3_export._safetensors import read_index
from qwen3_export._tiny import write_byte_tokenizer

DOCUMENT = Path(__file__).parents[1] / "docs" / "fidelity.md"
ON_CPU: list[Precision] = [precision for precision in PRECISIONS if precision not in FOR_CUDA]
ROUNDS = 3

CONFIG = published_config("0.6B")
OUTLIERS = np.array([50, 100, 200, 500, 1000], np.float32)  # factors of the enlarged channels

Texts = Sequence[npt.NDArray[np.int64]]


@dataclass(slots=True)
class Row:
    """The figures of one precision."""

    precision: Precision
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
    rows = {precision: Row(precision) for precision in ON_CPU}
    for name, checkpoint in checkpoints.items():
        reference = None
        for precision in ON_CPU:
            exported = export(
                str(checkpoint),
                repository=work / "exports",
                name=f"{name}-{precision}",
                precision=precision,
                force=True,
            )
            vectors = embed(session(exported.directory), texts)
            reference = vectors if reference is None else reference
            row = rows[precision]
            row.cosine[name] = float((vectors * reference).sum(axis=1).min())
            print(f"{name:8} {precision:12} smallest cosine with fp32 {row.cosine[name]:.5f}", flush=True)
            if name == "plain":
                row.largest = float(np.abs(vectors - reference).max())
                row.megabytes = exported.bytes / 1e6
            else:
                shutil.rmtree(exported.directory)
    measure_speed(work, rows)
    DOCUMENT.write_text(page(list(rows.values())), "utf-8")
    print(f"wrote {DOCUMENT}")


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


def session(directory: Path) -> ort.InferenceSession:
    """The graph of a model directory, set up as the embedded host does."""
    options = ort.SessionOptions()
    options.enable_mem_pattern = False
    return ort.InferenceSession(str(directory / "1" / "model.onnx"), options, providers=["CPUExecutionProvider"])


def embed(model: ort.InferenceSession, texts: Texts) -> npt.NDArray[np.float32]:
    """Embed texts in packed batches of up to 512 tokens; ``[n, 1024]``, in order."""
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


def measure_speed(work: Path, rows: dict[Precision, Row]) -> None:
    """Interleave the precisions, one process each and round, and keep medians."""
    samples: dict[Precision, list[tuple[float, float, float]]] = {precision: [] for precision in rows}
    for _ in range(ROUNDS):
        for precision in rows:
            command = [sys.executable, __file__, "--one", str(work / "exports" / f"plain-{precision}")]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            speed, query, memory = map(float, output.split())
            samples[precision].append((speed, query, memory))
    for precision, taken in samples.items():
        rows[precision].tokens_per_s, rows[precision].query_ms, rows[precision].memory_gib = np.median(taken, axis=0)


def one(directory: Path) -> None:
    """In a process of its own: tokens/s of the documents, ms of one 16-token query, GiB of anonymous memory."""
    model, texts = session(directory), documents()
    query = texts[0][:1].repeat(16)
    embed(model, texts[:4])
    speed = sum(text.size for text in texts) / timed(lambda: embed(model, texts))
    query_s = float(np.median([timed(lambda: embed(model, [query])) for _ in range(5)]))
    status = Path("/proc/self/status").read_text()
    anonymous = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))
    print(speed, 1000 * query_s, anonymous / 2**20)


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def page(rows: list[Row]) -> str:
    """docs/fidelity.md."""
    processors = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    titles = [
        "precision",
        "cosine",
        "max abs",
        "cosine, outliers",
        "directory",
        "anonymous memory",
        "tokens/s",
        "one query of 16",
    ]
    table = [titles, ["---"] * len(titles)]
    for row in rows:
        table.append(
            [
                row.precision,
                f"{row.cosine['plain']:.5f}",
                f"{row.largest:.1e}",
                f"{row.cosine['outliers']:.5f}",
                f"{row.megabytes:,.0f} MB",
                f"{row.memory_gib:.1f} GiB",
                f"{row.tokens_per_s:.0f} ({row.tokens_per_s / rows[0].tokens_per_s:.1f}x)",
                f"{row.query_ms:.0f} ms",
            ]
        )
    lines = "\n".join("| " + " | ".join(cells) + " |" for cells in table)
    return f"""# Fidelity of the CPU precisions

Written by `make fidelity` (bench/fidelity.py, which says how): random weights of the true Qwen3-Embedding-0.6B shape,
24 texts of 8 to 256 tokens, each precision against fp32 on the same weights. Cosines are the smallest of all texts.
Speeds are medians of {ROUNDS} interleaved rounds in process, ONNX Runtime only, on a shared machine: take the ratios.

{lines}

Outliers: a few channels of every norm and MLP enlarged 50 to 1000 times, as trained decoders have them, and what reads
them divided by as much: float32 computes the same function, and only quantisation suffers. Export equalises channels
(`_equalise.py`) for the quantised precisions; before it did, int8 had a cosine of -0.02 here and int8-weight of 0.77.

Machine: {processors[0].partition(":")[2].strip()}, {os.cpu_count()} cores. onnxruntime {version("onnxruntime")}.
"""


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        one(Path(sys.argv[2]))
    else:
        main(Path(sys.argv[1]))
