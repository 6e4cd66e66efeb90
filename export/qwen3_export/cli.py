"""`qwen3-triton export`: the command line of `qwen3_export.export`."""

import argparse
import sys
from pathlib import Path

from .options import add_source_arguments

HELP = "turn a checkpoint into a Triton model directory"
EXTRA = "export"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_source_arguments(parser)
    parser.add_argument(
        "--repository",
        type=Path,
        default=Path("model_repository"),
        help="Triton's model repository (%(default)s)",
    )
    parser.add_argument(
        "--name", help="the model's name in Triton (default: qwen3_embedding or qwen3_reranker, depending on its kind)"
    )
    parser.add_argument(
        "--version",
        type=int,
        metavar="N",
        help="add version N to an existing model; `qwen3-triton reload` makes a running server change over to it",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace an existing model with all its versions; together with --version, replace that version only",
    )


def run(args: argparse.Namespace) -> int:
    """Export a checkpoint; returns the exit code."""
    from tqdm import tqdm

    from .checkpoint.demo import DEMO
    from .checkpoint.tiny import TINY
    from .errors import ExportError
    from .exporter import export
    from .size import in_words

    with tqdm(
        unit="B",
        unit_scale=True,
        desc="weights",
        disable=None,
        leave=False,
        file=sys.stderr,
    ) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        try:
            exported = export(
                args.source,
                repository=args.repository,
                name=args.name,
                kind=args.kind,
                device=args.device,
                precision=args.precision,
                ort_version=args.ort_version,
                attention=args.attention,
                revision=args.revision,
                adapter=args.adapter,
                dimensions=args.dimensions,
                version=args.version,
                force=args.force,
                progress=show,
            )
        except ExportError as error:
            bar.close()
            print(f"qwen3-triton export: {error}", file=sys.stderr)
            return 1
        except OSError as error:
            bar.close()
            print(f"qwen3-triton export: {error}; nothing was left behind", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            bar.close()
            print("qwen3-triton export: stopped; nothing was left behind", file=sys.stderr)
            return 130
    for note in exported.notes:
        print(f"qwen3-triton export: note: {note}", file=sys.stderr)
    if args.source == TINY:
        print("tiny is a random checkpoint: its vectors have no meaning.")
    if args.source == DEMO:
        print("demo is a small model to try things out: it ranks sensibly, and published models do it far better.")
    vectors = f", {exported.dimensions} dimensions" if exported.kind.kind == "embedding" else ""
    numbered = "" if args.version is None else f", version {exported.version}"
    print(f"{exported.directory}{numbered}: {exported.size}{vectors}, {exported.precision}, {in_words(exported.bytes)}")
    repository = "" if args.repository == Path("model_repository") else f" --repository {args.repository}"
    following = f"qwen3-triton serve{repository}"
    if exported.device == "cuda":
        following += " on a machine with an NVIDIA GPU, or Triton's container: docs/gpu.md"
    if exported.device == "tensorrt":
        following = f"qwen3-triton build-engine {exported.directory}_trt, on the GPU that will run it: docs/tensorrt.md"
    if args.version is not None:
        following = f"qwen3-triton reload {exported.directory.name}, for the server that runs it"
    print(f"Model kind: {exported.kind.kind} ({exported.kind.reason}). Next: {following}")
    return 0
