"""The options of `export` that decide what is exported, which `inspect` takes too."""

import argparse
from pathlib import Path

from .kind import KINDS
from .precision import PRECISIONS
from .target import ATTENTIONS, DEVICES


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the checkpoint and the options that decide what is exported from it."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a checkpoint folder, a Hugging Face Hub id such as Qwen/Qwen3-Embedding-0.6B, or one to try everything "
        "without a download: 'demo', a small trained embedding model that comes with the package, or 'tiny', a random "
        "checkpoint of either kind (its vectors have no meaning)",
    )
    parser.add_argument(
        "--kind", choices=KINDS, help="what the checkpoint is (default: detected from its files and name)"
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="CPU: fp32 (the default), int8 (the fastest), int8-weight, int4-weight (the smallest). "
        "CUDA and TensorRT: bf16 (the default), fp16 (for GPUs before Ampere). CUDA: also bf16-residual (faster and "
        "less accurate, as transformers in bf16). TensorRT: also fp32",
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
        "--dimensions",
        metavar="SIZES",
        help="the sizes to which clients may cut an embedding model's vectors: fixed, a range (32-1024) or a list "
        "(256,512,1024) (default: what the checkpoint says; docs/checkpoints.md has the rule)",
    )
