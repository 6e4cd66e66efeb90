"""`qwen3-triton export`: the command line of `qwen3_export.export`."""

import argparse
import sys
from pathlib import Path

from .kind import KINDS
from .precision import PRECISIONS
from .target import ATTENTIONS, DEVICES

HELP = "turn a checkpoint into a Triton model directory"
EXTRA = "export"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a checkpoint folder, a Hugging Face Hub id such as Qwen/Qwen3-Embedding-0.6B, or 'tiny': "
        "a random checkpoint that is made in a second, to try everything (its vectors have no meaning)",
    )
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
        "--kind", choices=KINDS, help="what the checkpoint is (default: detected from its files and name)"
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="CPU: fp32 (the default), int8 (the fastest), int8-weight, int4-weight (the smallest). "
        "CUDA and TensorRT: bf16 (the default), fp16 (for GPUs before Ampere). TensorRT: also fp32",
    )
    parser.add_argument(
        "--device",
        choices=DEVICES,
        default="cpu",
        help="what will run the model (%(default)s); tensorrt is experimental, and needs the extra of that name and "
        "afterwards `qwen3-triton build-engine`",
    )
    parser.add_argument(
        "--ort-version",
        metavar="V",
        help="the release of ONNX Runtime that will run the model, such as 1.27 (default with CUDA: 1.27, as in "
        "Triton's container 26.07; with CPU: any from 1.23 on)",
    )
    parser.add_argument(
        "--attention",
        choices=ATTENTIONS,
        help="the attention operator: paged computes no padding; gqa pads inside attention, and runs where "
        "PagedAttention does not (default with CUDA: paged; with CPU: gqa)",
    )
    parser.add_argument("--revision", metavar="R", help="branch, tag or commit on the Hub (default: its main branch)")
    parser.add_argument(
        "--adapter",
        type=Path,
        metavar="FOLDER",
        help="a LoRA adapter that PEFT saved (adapter_config.json, adapter_model.safetensors), to merge into SOURCE",
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
