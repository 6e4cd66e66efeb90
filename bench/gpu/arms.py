"""The ways of embedding that `python -m bench.gpu` compares, called arms, with the same random weights on one device.

Each takes token ids and returns unit vectors in the processor's memory, so that all of them include the same transfers.
The graph runs in the embedded host's own engine. transformers gets padded ids, padded on the left as in the model card.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from qwen3_export.cuda import has_provider, open_cuda_session
from qwen3_serve.host.captured_engine import GRAPH, CapturedEngine
from qwen3_serve.host.cuda_engine import CudaEngine
from qwen3_serve.host.packed_engine import PackedEngine, Settings

Ids = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]
_ALL_TOKENS = 1 << 20  # no batch here is divided


@dataclass(frozen=True, slots=True)
class Arm:
    """One way of embedding.

    Attributes:
        name: What the page calls it.
        embed: From the ids of texts to unit vectors.
    """

    name: str
    embed: Callable[[Sequence[Ids]], Vectors]


def torch_device() -> str:
    """Return the device that torch runs on: `cuda`, or `cpu` where there is no GPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def export_device() -> str:
    """Return the device to export for: `cuda` if the installed ONNX Runtime has it, else `cpu`."""
    return "cuda" if has_provider() else "cpu"


def open_engine(directory: Path, *, prefix_cache_tokens: int = 0) -> CudaEngine | PackedEngine:
    """Load an export with the embedded host's engine for its device."""
    model = directory / "1" / "model.onnx"
    if export_device() == "cuda":
        session = open_cuda_session(model)
        return CudaEngine(session, max_batch_tokens=_ALL_TOKENS, prefix_cache_tokens=prefix_cache_tokens)
    settings = Settings(max_batch_tokens=_ALL_TOKENS, max_slots_per_token=1e9, prefix_cache_tokens=prefix_cache_tokens)
    return PackedEngine(model, settings, threads=0)


def graph_arm(directory: Path) -> Arm:
    """Return the arm of the exported graph."""
    engine = open_engine(directory)
    return Arm("ours", lambda texts: engine.run(texts)[0])


def captured_arm(directory: Path) -> Arm:
    """Return the arm of the exported graph with CUDA graphs.

    Raises:
        CudaError: The export has no graph for it, or it cannot be captured.
        RuntimeError: Vectors are others than without CUDA graphs.
    """
    session = open_cuda_session(directory / "1" / GRAPH, cuda_graphs=True)
    engine = CapturedEngine(session, max_batch_tokens=_ALL_TOKENS)
    engine.check()
    return Arm("ours with CUDA graphs", lambda texts: engine.run(texts)[0])


def load_torch(checkpoint: Path, dtype: torch.dtype) -> Any:  # noqa: ANN401 - transformers has no types
    """Load the checkpoint's `Qwen3Model` in a type, on the device."""
    from transformers import AutoModel

    return AutoModel.from_pretrained(str(checkpoint), dtype=dtype).to(torch_device()).eval()


def hidden_states(model: Any, texts: Sequence[Ids]) -> torch.Tensor:  # noqa: ANN401
    """Return the last token's normed hidden state of each text, float32 `[texts, hidden]`: one left-padded batch."""
    columns = max(ids.size for ids in texts)
    padded = np.zeros((len(texts), columns), np.int64)
    mask = np.zeros_like(padded)
    for row, (ids, kept) in zip(texts, zip(padded, mask, strict=True), strict=True):
        ids[columns - row.size :] = row
        kept[columns - row.size :] = 1
    device = torch_device()
    with torch.inference_mode():
        output: torch.Tensor = model(
            input_ids=torch.from_numpy(padded).to(device),
            attention_mask=torch.from_numpy(mask).to(device),
            use_cache=False,
        ).last_hidden_state[:, -1]
    return output.float()


def torch_arms(model: Any) -> list[Arm]:  # noqa: ANN401
    """Return the arms of transformers: sdpa, and flash attention where its package is installed."""

    def arm(kernel: str, name: str) -> Arm:
        def embed(texts: Sequence[Ids]) -> Vectors:
            model.set_attn_implementation(kernel)
            vectors: Vectors = torch.nn.functional.normalize(hidden_states(model, texts), dim=-1).cpu().numpy()
            return vectors

        return Arm(name, embed)

    flash = importlib.util.find_spec("flash_attn") is not None and torch_device() == "cuda"
    kernels = {"sdpa": "transformers sdpa"} | ({"flash_attention_2": "transformers flash"} if flash else {})
    return [arm(kernel, name) for kernel, name in kernels.items()]


def sentence_transformers_arm(checkpoint: Path) -> Arm:
    """Return the arm of sentence-transformers, which gets strings, as its users pass them: one byte is one token."""
    from sentence_transformers import SentenceTransformer

    _write_sentence_transformers_files(checkpoint)
    dtype = torch.bfloat16 if torch_device() == "cuda" else torch.float32
    encoder = SentenceTransformer(str(checkpoint), device=torch_device(), model_kwargs={"dtype": dtype})

    def embed(texts: Sequence[Ids]) -> Vectors:
        strings = ["a" * (ids.size - 1) for ids in texts]
        rows = encoder.encode(strings, batch_size=32, convert_to_numpy=True)
        return np.asarray(rows, np.float32)

    return Arm("sentence-transformers", embed)


def _write_sentence_transformers_files(checkpoint: Path) -> None:
    """Write the files that sentence-transformers needs, as in the published checkpoints."""
    end = "<|endoftext|>"
    size = json.loads((checkpoint / "config.json").read_text())["hidden_size"]
    files: dict[str, object] = {
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": end,
            "pad_token": end,
            "padding_side": "left",
            "model_max_length": 32_768,
        },
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
        ],
        "1_Pooling/config.json": {
            "word_embedding_dimension": size,
            "pooling_mode_mean_tokens": False,
            "pooling_mode_lasttoken": True,
        },
    }
    for name, content in files.items():
        (checkpoint / name).parent.mkdir(exist_ok=True)
        (checkpoint / name).write_text(json.dumps(content), "utf-8")
