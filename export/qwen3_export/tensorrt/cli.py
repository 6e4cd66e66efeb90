"""`qwen3-triton build-engine`: builds the TensorRT plan of a model that was exported for TensorRT."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from .profiles import MAX_BATCH, MAX_SLOTS, MAX_TOKENS

HELP = "build the TensorRT plan of a model exported with --device tensorrt, on the GPU that will run it"
EXTRA: str | None = None  # tensorrt comes with NVIDIA's containers

_TIMING_CACHE = Path.home() / ".cache" / "qwen3-triton" / "tensorrt.timing"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "model", metavar="MODEL", type=Path, help="the model's directory, such as model_repository/qwen3_embedding_trt"
    )
    parser.add_argument(
        "--max-batch", type=int, default=MAX_BATCH, metavar="N", help="most texts of a padded batch (%(default)s)"
    )
    parser.add_argument(
        "--max-tokens", type=int, default=MAX_TOKENS, metavar="N", help="longest text in tokens (%(default)s)"
    )
    parser.add_argument(
        "--max-slots",
        type=int,
        default=MAX_SLOTS,
        metavar="N",
        help="most positions of a padded batch, padding included: texts times the longest text. This decides how much "
        "memory the plan takes (%(default)s)",
    )
    parser.add_argument(
        "--timing-cache",
        type=Path,
        default=_TIMING_CACHE,
        metavar="FILE",
        help="kernel timings, kept for the next build on the same kind of GPU (%(default)s)",
    )
    parser.add_argument(
        "--workspace-gib",
        type=int,
        metavar="N",
        help="most scratch memory of a kernel, in GiB (default: the GPU's whole memory)",
    )


def run(args: argparse.Namespace) -> int:
    """Build the plan; returns the exit code."""
    from tqdm import tqdm

    from ..errors import ExportError
    from ..size import in_words
    from .plan import GRAPH, PLAN, check_plan_model, find_padding_front, install_plan
    from .profiles import Limits, profiles

    try:
        limits = Limits(args.max_batch, args.max_tokens, args.max_slots)
        check_plan_model(args.model, limits)
        padding_front = find_padding_front(args.model)
        try:
            from .engine import build_plan
        except ModuleNotFoundError as error:
            if error.name != "tensorrt":
                raise
            raise ExportError(_no_tensorrt(args.model)) from None
        chosen = profiles(limits)
        for profile in chosen:
            most, best = (" x ".join(map(str, shape)) for shape in (profile.most, profile.best))
            print(f"profile, in texts x tokens: 1 x 1 to {most}, tuned for {best}", flush=True)
        # Python cannot handle signals while TensorRT builds, so Ctrl-C ends the process. Nothing is written before.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        started = time.monotonic()
        with tqdm(desc="TensorRT", disable=None, leave=False, file=sys.stderr) as bar:

            def show(phase: str, done: int, total: int) -> None:
                bar.set_description(phase, refresh=False)
                bar.total, bar.n = total, done
                bar.refresh()

            plan = build_plan(
                args.model / GRAPH,
                chosen,
                timing_cache=args.timing_cache,
                workspace_bytes=None if args.workspace_gib is None else args.workspace_gib * 2**30,
                progress=show,
            )
        install_plan(args.model, padding_front, plan, profiles=len(chosen), limits=limits)
    except (ExportError, OSError) as error:
        print(f"qwen3-triton build-engine: {error}", file=sys.stderr)
        return 1
    print(f"{args.model / PLAN}: {in_words(len(plan))}, built in {time.monotonic() - started:.0f} s")
    print(f"{padding_front} takes texts of up to {limits.max_tokens} tokens. Next: start Triton on {args.model.parent}")
    return 0


def _no_tensorrt(model: Path) -> str:
    return (
        "the Python package `tensorrt` is not installed. A plan runs only in the TensorRT release that built it, so "
        "build it in NVIDIA's TensorRT container of the same month as the Triton container that will serve it, on the "
        "same kind of GPU:\n"
        '  docker run --rm --gpus all -v "$PWD:/work" -w /work nvcr.io/nvidia/tensorrt:26.07-py3 \\\n'
        f"    sh -c 'pip install qwen3-triton && qwen3-triton build-engine {model}'"
    )
