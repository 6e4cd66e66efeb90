"""Measurements of CUDA exports on a GPU, beside other ways of embedding.

They cover agreement with transformers, batch invariance, skewed batches, throughput and latency.

    pip install "qwen3-triton[export,verify]" "onnxruntime-gpu==1.27.*" sentence-transformers matplotlib
    pip install flash-attn --no-build-isolation
    python bench/gpu.py build/gpu

The graph is exported for the release of onnxruntime-gpu that is installed; 1.27 is the release in Triton's container
26.07.

The weights are random, of the published 0.6B and 8B shapes, because speed does not depend on their values. All ways of
embedding (the "arms") alternate in one process, so that the GPU's clock and temperature are the same for all. A time is
that of a whole call, from ids (or strings) to vectors in memory. The script writes gpu.json, gpu.md and plots into the
folder. It takes an hour, 50 GB of disk and, for 8B, a GPU with 80 GB; with `--sizes 0.6B`, 24 GB are enough.

It has not been run yet, because there was no GPU.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from gpu_report import Agreement, Results, Timing, agreement, mixed_lengths, non_embedding_parameters, write_report

if TYPE_CHECKING:
    from gpu_arms import Arm, Texts

SIZES = ("0.6B", "4B", "8B")
ARMS = ("ours", "transformers sdpa", "transformers flash", "sentence-transformers")
BATCH_TOKENS = (512, 4096, 16_384, 65_536)
EQUAL = 512  # tokens of each text in batches of equal lengths
QUERY = 32  # tokens
LONG, SHORT, SHORT_TEXTS = 32_768, 128, 63  # the skewed batch
COMPARED = (1, 2, 16, 255, 256, 257, 1024, 4096)  # tokens of the texts whose vectors are compared
# import name -> what to pass to pip
PACKAGES = {
    "flash_attn": "flash-attn --no-build-isolation",
    "matplotlib": "matplotlib",
    "onnx": '"qwen3-triton[export]"',
    "onnxruntime": "onnxruntime-gpu",
    "sentence_transformers": "sentence-transformers",
    "torch": "torch",
    "transformers": '"transformers>=5"',
}


def main(arguments: Sequence[str]) -> None:
    """Measure everything and write the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where the report goes; checkpoints and exports are kept in it too")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["0.6B", "8B"])
    parser.add_argument("--skip", nargs="+", choices=ARMS[1:], default=[], help="ways of embedding to leave out")
    parser.add_argument("--rounds", type=int, default=10, help="runs of each batch (%(default)s)")
    parser.add_argument("--queries", type=int, default=300, help="runs of the single query (%(default)s)")
    args = parser.parse_args(arguments)
    if refusal := what_is_missing(skip=args.skip):
        raise SystemExit(f"bench/gpu.py: {refusal}")

    import torch

    args.folder.mkdir(parents=True, exist_ok=True)
    rate = matmul_flops()
    print(f"{torch.cuda.get_device_name()}: {rate / 1e12:.0f} TFLOP/s in one large bfloat16 product", flush=True)
    parameters: dict[str, int] = {}
    agreements: list[Agreement] = []
    timings: list[Timing] = []
    for size in args.sizes:
        arms, texts, parameters[size] = prepare(size, args.folder, skip=args.skip)
        agreements += compare(size, arms, texts)
        timings += measure(size, arms, texts, rounds=args.rounds, queries=args.queries)
        del arms
        torch.cuda.empty_cache()
        # The report is written after each size, so that nothing is lost if the next size fails.
        write_report(Results(environment(), rate, parameters, agreements, timings), args.folder)
    print(f"wrote {args.folder / 'gpu.md'}")


def what_is_missing(*, skip: Sequence[str] = ()) -> str:
    """Return a sentence that says what this machine lacks and what to do; "" if it lacks nothing."""
    needed = [name for name in PACKAGES if name != "flash_attn" or "transformers flash" not in skip]
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        commands = "; ".join(f"pip install {PACKAGES[name]}" for name in missing)
        optional = " (or leave flash attention out: --skip 'transformers flash')" if "flash_attn" in missing else ""
        return f"these packages are missing: {', '.join(missing)}. Install them with: {commands}{optional}"
    import torch

    if not torch.cuda.is_available():
        return "torch finds no GPU; run this on a machine with an NVIDIA GPU, with a torch that was built for CUDA"
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when ONNX Runtime is imported
    import onnxruntime as ort

    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return "the installed onnxruntime runs on CPUs only: pip uninstall onnxruntime; pip install onnxruntime-gpu"
    return ""


def prepare(size: str, folder: Path, *, skip: Sequence[str]) -> tuple[list[Arm], Texts, int]:
    """Write a random checkpoint and its export, unless they exist, and load every arm.

    Returns:
        The arms, the texts, and the number of parameters in the layers' matrices.
    """
    import onnxruntime as ort
    from gpu_arms import Texts, make_arms
    from qwen3_export import export
    from qwen3_export.checkpoint.random_checkpoint import published_config, write_random_checkpoint
    from qwen3_export.checkpoint.tiny import write_byte_tokenizer

    checkpoint = folder / "checkpoints" / size
    config = published_config(size)
    if not (checkpoint / "tokenizer.json").exists():  # written last
        checkpoint.mkdir(parents=True, exist_ok=True)
        print(f"{size}: writing random weights", flush=True)
        write_random_checkpoint(checkpoint, config)
        write_byte_tokenizer(checkpoint)
    release = ".".join(ort.__version__.split(".")[:2])
    directory = folder / "models" / f"{size}-{release}"
    if not directory.exists():
        print(f"{size}: exporting for ONNX Runtime {release}", flush=True)
        export(
            str(checkpoint),
            repository=directory.parent,
            name=directory.name,
            kind="embedding",
            device="cuda",
            ort_version=release,
        )
    texts = Texts(checkpoint)
    return make_arms(checkpoint, directory, texts, skip=skip), texts, non_embedding_parameters(config)


def compare(size: str, arms: Sequence[Arm], texts: Texts) -> Iterator[Agreement]:
    """Compare every arm with transformers, each text alone, and with itself in a batch."""
    import numpy as np

    batch = texts.of(COMPARED)
    alone, together = {}, {}
    for arm in arms:
        arm.prepare()
        alone[arm.name] = np.concatenate([arm.embed([text]) for text in batch])
        together[arm.name] = arm.embed(batch)
    reference = "transformers sdpa"
    for arm in arms:
        if reference in alone and arm.name != reference:
            yield agreement(size, f"{arm.name} and {reference}, each text alone", alone[arm.name], alone[reference])
    for arm in arms:
        yield agreement(size, f"{arm.name}, alone and in a batch", alone[arm.name], together[arm.name])


def measure(size: str, arms: Sequence[Arm], texts: Texts, *, rounds: int, queries: int) -> Iterator[Timing]:
    """Time every batch with every arm; the arms alternate."""
    yield from _timings(size, "query", arms, texts, [QUERY], rounds=queries)
    for tokens in BATCH_TOKENS:
        yield from _timings(size, "equal", arms, texts, [EQUAL] * (tokens // EQUAL), rounds=rounds)
        yield from _timings(size, "mixed", arms, texts, mixed_lengths(tokens), rounds=rounds)
    yield from _timings(size, "skewed", arms, texts, [LONG, *[SHORT] * SHORT_TEXTS], rounds=rounds)


def _timings(
    size: str, work: str, arms: Sequence[Arm], texts: Texts, lengths: Sequence[int], *, rounds: int
) -> Iterator[Timing]:
    import torch

    batch = texts.of(lengths)
    seconds: dict[str, list[float]] = {arm.name: [] for arm in arms}
    notes: dict[str, str] = {}
    for turn in range(2 + rounds):  # two to warm up
        for arm in arms:
            if arm.name in notes:
                continue
            arm.prepare()
            try:
                start = time.perf_counter()
                arm.embed(batch)  # returns when the vectors are in memory, so the GPU has finished
                took = time.perf_counter() - start
            except Exception as error:
                if not _is_out_of_memory(error):
                    raise
                notes[arm.name] = "out of memory"
                torch.cuda.empty_cache()
                continue
            if turn >= 2:
                seconds[arm.name].append(took)
    for arm in arms:
        timing = Timing(
            size, work, sum(lengths), len(lengths), arm.name, tuple(seconds[arm.name]), notes.get(arm.name, "")
        )
        median = sorted(timing.seconds)[len(timing.seconds) // 2] if timing.seconds and not timing.note else None
        print(
            f"{size} {work} {timing.tokens:,} tokens, {arm.name}: "
            + (timing.note if median is None else f"{timing.tokens / median:,.0f} tok/s"),
            flush=True,
        )
        yield timing


def _is_out_of_memory(error: Exception) -> bool:
    # torch has an error class for it; ONNX Runtime only a message.
    return type(error).__name__ == "OutOfMemoryError" or "Failed to allocate memory" in str(error)


def matmul_flops(size: int = 8192, runs: int = 20) -> float:
    """Measure the rate of one large bfloat16 product, in operations per second: the median of some runs."""
    import torch

    left, right = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(3 + runs):
        torch.cuda.synchronize()
        start = time.perf_counter()
        left @ right
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 2.0 * size**3 / sorted(times[3:])[runs // 2]


def environment() -> dict[str, str]:
    """Return names and versions of what was used."""
    import onnxruntime as ort
    import torch

    packages = ("torch", "transformers", "sentence-transformers")
    return {
        "GPU": torch.cuda.get_device_name(),
        "CUDA of torch": str(torch.version.cuda),
        "onnxruntime": ort.__version__,
        **{package: version(package) for package in packages},
    }


if __name__ == "__main__":
    main(sys.argv[1:])
