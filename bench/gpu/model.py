"""A model of the time that a CUDA export takes: bytes, operations and launches of every kernel. Nothing is measured.

    python -m bench.gpu.model

prints predictions for the published shapes on an H100 and an L4. `python -m bench.gpu` measures beside them. The
kernels of a layer are those that ONNX Runtime's CUDA provider launches; `make test-cuda` compares their number with its
trace. Each takes the longest of three times: its bytes at the memory's rate, its operations at the tensor cores' rate,
and its launch. Transfers between caches are ignored, and so is everything that overlaps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from qwen3_export.checkpoint.geometry import Geometry
from qwen3_export.checkpoint.random_checkpoint import published_config
from qwen3_export.graph.paged_attention import BLOCK_ROWS
from qwen3_export.target import Target, choose_target

HALF, FLOAT = 2, 4  # bytes
SIZES = ("0.6B", "4B", "8B")
RELEASES = ("1.27", "1.31")
TOKENS = (4096, 16_384, 65_536)  # of a batch
TEXT, QUERY = 512, 16  # tokens of one text
AROUND = 12  # launches before the first layer and after the last one, with copies
SHARING = 8  # more launches, of a run with prefixes
KEEPING, KEEPING_LAYER = 22, 2  # more launches, of a run that keeps prefixes, around the layers and in each
PROMPT, DOCUMENTS = 85, (32, 128, 512)  # tokens of a reranker's prompt before the document, and of documents
TEXTS = 64  # of a batch of pairs
REPLAYED_S = 1.5e-6  # of one launch in a CUDA graph; an assumption
WAIT_S = 12e-6  # the processor copies a few bytes back and waits for them


@dataclass(frozen=True, slots=True)
class Gpu:
    """One kind of GPU.

    Attributes:
        name: Its name.
        peak_flops: Operations of bfloat16 tensor cores per second, dense. Source: NVIDIA's data sheets.
        bytes_per_s: The memory's rate, from the same source.
        product_share: The share of `peak_flops` that large matrix products reach; an assumption.
        memory_share: The share of `bytes_per_s` that elementwise kernels reach; an assumption.
        launch_s: The processor's time for one launch through ONNX Runtime; an assumption.
    """

    name: str
    peak_flops: float
    bytes_per_s: float
    product_share: float = 0.65
    memory_share: float = 0.85
    launch_s: float = 4e-6


H100 = Gpu("H100 SXM", peak_flops=989e12, bytes_per_s=3.35e12)
H200 = Gpu("H200 SXM", peak_flops=989e12, bytes_per_s=4.8e12)
L4 = Gpu("L4", peak_flops=121e12, bytes_per_s=300e9)


@dataclass(frozen=True, slots=True)
class Kernel:
    """One launch.

    Attributes:
        name: What it computes.
        bytes: What it reads and writes.
        flops: Multiplications and additions on tensor cores.
    """

    name: str
    bytes: float
    flops: float = 0.0

    def seconds(self, gpu: Gpu) -> float:
        """Return its time."""
        computing = self.flops / (gpu.peak_flops * gpu.product_share)
        return max(computing, self.bytes / (gpu.bytes_per_s * gpu.memory_share), gpu.launch_s)


@dataclass(frozen=True, slots=True)
class Stored:
    """How weights are stored.

    Attributes:
        name: Its name.
        bytes: Of one weight, with its share of the scales.
        direct_rows: Most rows for which one kernel reads the weights as they are stored; for more, a launch converts
            them to the half precision first. Found in the traces of ONNX Runtime 1.31 over stub libraries.
    """

    name: str
    bytes: float
    direct_rows: float = math.inf


IN_HALF = Stored("bf16", HALF)
# No export has these on CUDA. MatMulNBits with blocks of 32, and MatMulBlockQuantizedFp8Weight with blocks of 128.
IN_INT8, IN_FP8 = Stored("int8-weight", 1 + HALF / 32, direct_rows=2), Stored("fp8", 1 + FLOAT / 128, direct_rows=32)


def layer_kernels(
    g: Geometry,
    target: Target,
    rows: int,
    longest: int,
    *,
    past: int = 0,
    half_residual: bool = False,
    stored: Stored = IN_HALF,
) -> list[Kernel]:
    """Return the kernels of one layer of paged attention in a half precision, in their order.

    Args:
        g: The model's sizes.
        target: For the release of ONNX Runtime.
        rows: Tokens that the batch computes.
        longest: Tokens of each of its texts that are computed.
        past: Tokens of each text's prefix whose keys and values come from a prefix cache; rerankers' graphs only.
        half_residual: Whether the residual stream is in the half precision, as with `--precision bf16-residual`.
        stored: How the weights are stored.
    """
    query, key, hidden, inner = g.heads * g.head_dim, g.kv_heads * g.head_dim, g.hidden, g.intermediate

    def elementwise(name: str, *elements: tuple[int, int]) -> Kernel:
        return Kernel(name, rows * sum(width * size for width, size in elements))

    def product(name: str, width_in: int, width_out: int) -> Iterator[Kernel]:
        weights = width_in * width_out
        size = stored.bytes
        if rows > stored.direct_rows:
            yield Kernel(f"{name}: weights to half", weights * (stored.bytes + HALF))
            size = HALF
        yield Kernel(name, HALF * rows * (width_in + width_out) + size * weights, 2.0 * rows * weights)

    def norm() -> Iterator[Kernel]:
        if half_residual:
            yield elementwise("addition and norm", (4 * hidden, HALF))
            return
        yield elementwise("update to float32", (hidden, HALF), (hidden, FLOAT))
        yield elementwise("addition and norm", (4 * hidden, FLOAT))
        yield elementwise("normed to half", (hidden, FLOAT), (hidden, HALF))

    def attention() -> Iterator[Kernel]:
        if target.norms_inside:
            yield from product("q, k, v", hidden, query + 2 * key)
        else:
            for name, width in (("q", query), ("k", key), ("v", key)):
                yield from product(name, hidden, width)
            yield elementwise("norm of q", (2 * query, HALF))
            yield elementwise("norm of k", (2 * key, HALF))
        yield Kernel("lengths", 0.0)
        yield elementwise("rotary of q", (2 * query, HALF))
        yield elementwise("rotary of k", (2 * key, HALF))
        yield elementwise("cache", (4 * key, HALF))
        texts = rows // longest
        if past:  # the caches of all texts, whose blocks begin with prefixes, are gathered before they are written
            blocks = texts * -(-(past + longest) // BLOCK_ROWS)
            for name in ("keys", "values"):
                yield Kernel(f"prefix {name}", HALF * key * (blocks * BLOCK_ROWS + texts * past))
        pairs = rows * (past + (longest + 1) / 2)  # of a query and a key that it attends to
        yield Kernel("attention", HALF * 2 * (rows * (query + key) + texts * past * key), 4.0 * pairs * query)
        yield from product("output", query, hidden)

    def mlp() -> Iterator[Kernel]:
        yield from product("gate", hidden, inner)
        yield from product("up", hidden, inner)
        if target.has_silu:
            yield elementwise("SiLU", (2 * inner, HALF))
        else:
            yield elementwise("gate to float32", (inner, HALF), (inner, FLOAT))
            yield elementwise("SiLU", (2 * inner, FLOAT))
            yield elementwise("SiLU to half", (inner, FLOAT), (inner, HALF))
        yield elementwise("SiLU times up", (3 * inner, HALF))
        yield from product("down", inner, hidden)

    return [*norm(), *attention(), *norm(), *mlp()]


def batch_seconds(
    g: Geometry,
    target: Target,
    gpu: Gpu,
    *,
    rows: int,
    longest: int,
    past: int = 0,
    half_residual: bool = False,
    stored: Stored = IN_HALF,
) -> float:
    """Return the time of a batch of `rows` tokens in texts of `longest` tokens; for the others see `layer_kernels`."""
    kernels = layer_kernels(g, target, rows, longest, past=past, half_residual=half_residual, stored=stored)
    layer = sum(kernel.seconds(gpu) for kernel in kernels)
    waits = 0.0 if target.metadata_size else WAIT_S  # each layer reads the lengths back
    return g.layers * (layer + waits) + AROUND * gpu.launch_s


def replayed_seconds(g: Geometry, target: Target, gpu: Gpu, *, rows: int, stored: Stored = IN_HALF) -> float:
    """Return the time of one text of `rows` tokens with CUDA graphs."""
    replayed = replace(gpu, launch_s=REPLAYED_S)
    return gpu.launch_s + batch_seconds(g, target, replayed, rows=rows, longest=rows, stored=stored)


def pairs_seconds(g: Geometry, target: Target, gpu: Gpu, *, pairs: int, document: int, shares: bool) -> float:
    """Return the time of pairs of one query that no run has seen.

    Args:
        g: The model's sizes.
        target: For the release of ONNX Runtime.
        gpu: The GPU.
        pairs: How many there are, all of one batch.
        document: Tokens of each document.
        shares: Whether one of them runs first, alone, and the others use its prefix.
    """
    whole = PROMPT + document
    if not shares:
        return batch_seconds(g, target, gpu, rows=pairs * whole, longest=whole)
    first = batch_seconds(g, target, gpu, rows=whole, longest=whole)
    # It gathers its caches as well, and keeps keys and values.
    first += (SHARING + KEEPING + g.layers * (2 + KEEPING_LAYER)) * gpu.launch_s
    others = batch_seconds(g, target, gpu, rows=(pairs - 1) * document, longest=document, past=PROMPT)
    return first + others + SHARING * gpu.launch_s


def gpu_named(name: str) -> Gpu | None:
    """Return the GPU of a name like `NVIDIA H100 80GB HBM3`; None if the model has no figures for it."""
    return next((gpu for gpu in (H100, H200, L4) if gpu.name.split()[0] in name.split()), None)


def utilisation(g: Geometry, gpu: Gpu, *, rows: int, seconds: float) -> float:
    """Return the share of the GPU's peak that the products with weights make up (MFU), attention not counted."""
    weights = g.parameters - g.vocabulary * g.hidden
    return 2.0 * weights * rows / seconds / gpu.peak_flops


def report(gpus: Sequence[Gpu] = (H100, L4)) -> str:
    """Return all predictions as Markdown."""
    lines = ["Predictions by the model of `bench/gpu/model.py`. **None was measured on a GPU.**", ""]
    columns = [f"{tokens:,} tokens" for tokens in TOKENS]
    lines.append(f"| GPU | model | ONNX Runtime | {' | '.join(columns)} | one query of {QUERY} tokens |")
    lines.append("|---|---|---|" + "---|" * (len(TOKENS) + 1))
    for gpu in gpus:
        for size in SIZES:
            g = Geometry.from_config(published_config(size))
            for release in RELEASES:
                target = choose_target(device="cuda", precision="bf16", ort_version=release)
                cells = []
                for rows in TOKENS:
                    seconds = batch_seconds(g, target, gpu, rows=rows, longest=TEXT)
                    share = utilisation(g, gpu, rows=rows, seconds=seconds)
                    cells.append(f"{seconds * 1e3:.0f} ms ({share:.0%})")
                query = batch_seconds(g, target, gpu, rows=QUERY, longest=QUERY)
                lines.append(f"| {gpu.name} | {size} | {release} | {' | '.join(cells)} | {query * 1e3:.1f} ms |")
    lines += ["", f"Batches are texts of {TEXT} tokens; in brackets, the share of the tensor cores' peak."]
    return "\n".join(lines)


def what_if(gpu: Gpu = H100) -> str:
    """Return what some changes save, as Markdown."""
    columns = [f"pairs with {document} tokens of document" for document in DOCUMENTS]
    lines = [f"What some changes save, {gpu.name}, ONNX Runtime {RELEASES[-1]}:", ""]
    lines.append(
        f"| model | {' | '.join(columns)} | half residual, {TOKENS[1]:,} tokens "
        "| half residual, one query | CUDA graphs, one query |"
    )
    lines.append("|---|" + "---|" * (len(DOCUMENTS) + 3))
    for size in SIZES:
        g = Geometry.from_config(published_config(size))
        target = choose_target(device="cuda", precision="bf16", ort_version=RELEASES[-1])

        cells = []
        for document in DOCUMENTS:
            before, after = (
                pairs_seconds(g, target, gpu, pairs=TEXTS, document=document, shares=shares) for shares in (False, True)
            )
            cells.append(_change(before, after))
        for rows, longest in ((TOKENS[1], TEXT), (QUERY, QUERY)):
            before = batch_seconds(g, target, gpu, rows=rows, longest=longest)
            after = batch_seconds(g, target, gpu, rows=rows, longest=longest, half_residual=True)
            cells.append(_change(before, after))
        query = batch_seconds(g, target, gpu, rows=QUERY, longest=QUERY)
        cells.append(_change(query, replayed_seconds(g, target, gpu, rows=QUERY)))
        lines.append(f"| {size} | {' | '.join(cells)} |")
    lines += [
        "",
        f"Pairs: {TEXTS} of one query, {PROMPT} tokens before the document. One runs first, the others use its prefix.",
    ]
    return "\n".join(lines)


def weight_formats(gpus: Sequence[Gpu] = (H100, L4)) -> str:
    """Return what quantized weights would change, which no export has on CUDA, as Markdown."""
    lines = [f"Weights by how they are stored, ONNX Runtime {RELEASES[-1]}:", ""]
    lines.append(
        f"| GPU | model | weights | size | one query of {QUERY} tokens | with CUDA graphs | {TOKENS[1]:,} tokens |"
    )
    lines.append("|---|---|---|---|---|---|---|")
    for gpu in gpus:
        for size in SIZES:
            g = Geometry.from_config(published_config(size))
            target = choose_target(device="cuda", precision="bf16", ort_version=RELEASES[-1])
            table = g.vocabulary * g.hidden
            for stored in (IN_HALF, IN_INT8, IN_FP8):
                gigabytes = ((g.parameters - table) * stored.bytes + table * HALF) / 1e9
                times = (
                    batch_seconds(g, target, gpu, rows=QUERY, longest=QUERY, stored=stored),
                    replayed_seconds(g, target, gpu, rows=QUERY, stored=stored),
                    batch_seconds(g, target, gpu, rows=TOKENS[1], longest=TEXT, stored=stored),
                )
                cells = " | ".join(f"{seconds * 1e3:,.1f} ms" for seconds in times)
                lines.append(f"| {gpu.name} | {size} | {stored.name} | {gigabytes:.1f} GB | {cells} |")
    return "\n".join(lines)


def _change(before: float, after: float) -> str:
    return f"{before * 1e3:.1f} to {after * 1e3:.1f} ms ({after / before - 1:+.0%})"


def layer_table(size: str, release: str, gpu: Gpu, *, rows: int) -> str:
    """Return each kernel of one layer as Markdown."""
    target = choose_target(device="cuda", precision="bf16", ort_version=release)
    lines = [f"One layer of {size} with {release}, {rows:,} tokens, {gpu.name}:", ""]
    lines += ["| kernel | MB | GFLOP | µs |", "|---|---|---|---|"]
    for kernel in layer_kernels(Geometry.from_config(published_config(size)), target, rows, TEXT):
        numbers = (kernel.bytes / 1e6, kernel.flops / 1e9, kernel.seconds(gpu) * 1e6)
        lines.append(f"| {kernel.name} | " + " | ".join(f"{number:.0f}" for number in numbers) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(report())
    print()
    print(what_if())
    print()
    print(weight_formats())
    print()
    print(layer_table("0.6B", RELEASES[-1], H100, rows=TOKENS[1]))
