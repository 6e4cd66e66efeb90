"""The ways of embedding that `gpu.py` compares, called arms, with the same random weights on one GPU.

Each takes texts and returns unit vectors in the processor's memory, so that all of them include the same transfers. The
graph gets token ids through IO binding. transformers gets padded token ids, padded on the left as in the model card.
sentence-transformers gets strings, as its users pass them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when ONNX Runtime is imported
import onnxruntime as ort

Vectors = npt.NDArray[np.float32]
ARMS = ("ours", "transformers sdpa", "transformers flash", "sentence-transformers")


@dataclass(frozen=True, slots=True)
class Arm:
    """One way of embedding.

    Attributes:
        name: One of `ARMS`.
        embed: From texts to unit vectors.
        prepare: What has to be done before a series of calls; not timed.
    """

    name: str
    embed: Callable[[Sequence[str]], Vectors]
    prepare: Callable[[], None]


class Texts:
    """Random texts of given numbers of tokens, and their ids."""

    def __init__(self, checkpoint: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))

    def of(self, lengths: Sequence[int], *, seed: int = 0) -> list[str]:
        """Return one text for each length, including the end token."""
        random = np.random.default_rng(seed)
        alphabet = np.array(list("abcdefghijklm"))  # no pair of these is one token
        texts = ["".join(random.choice(alphabet, length - 1)) for length in lengths]
        found = [ids.size for ids in map(self.ids, texts)]
        if found != list(lengths):
            raise AssertionError(f"texts came out with {found} tokens, not {list(lengths)}")
        return texts

    def ids(self, text: str) -> npt.NDArray[np.int64]:
        """Return the token ids of a text."""
        return np.array(self._tokenizer.encode(text).ids, np.int64)


class Graph:
    """The exported graph in ONNX Runtime's CUDA provider."""

    def __init__(self, directory: Path, texts: Texts) -> None:
        self._texts = texts
        self._session: Any = ort.InferenceSession(
            str(directory / "1" / "model.onnx"), providers=["CUDAExecutionProvider", "CPUExecutionProvider"]
        )
        if "CUDAExecutionProvider" not in self._session.get_providers():
            raise SystemExit("bench/gpu.py: ONNX Runtime could not start its CUDA provider; see its message above")

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed one packed batch."""
        ids = [self._texts.ids(text) for text in texts]
        binding = self._session.io_binding()
        # On the processor, where the graph computes with them before it needs the GPU.
        binding.bind_cpu_input("input_ids", np.concatenate(ids))
        binding.bind_cpu_input("lengths", np.array([[row.size] for row in ids], np.int32))
        binding.bind_output("embedding", "cuda", 0)
        self._session.run_with_iobinding(binding)
        (rows,) = binding.copy_outputs_to_cpu()
        return np.asarray(rows, np.float32)


class Padded:
    """transformers on one left-padded batch.

    Args:
        model: A `Qwen3Model` on the GPU.
        texts: Gives the ids of texts.
    """

    def __init__(self, model: Any, texts: Texts) -> None:  # noqa: ANN401
        self._model, self._texts = model, texts

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed one padded batch."""
        ids = [self._texts.ids(text) for text in texts]
        columns = max(row.size for row in ids)
        padded = np.zeros((len(ids), columns), np.int64)
        mask = np.zeros_like(padded)
        for row, (values, kept) in zip(ids, zip(padded, mask, strict=True), strict=True):
            values[columns - row.size :] = row
            kept[columns - row.size :] = 1
        with torch.inference_mode():
            hidden = self._model(
                input_ids=torch.from_numpy(padded).cuda(),
                attention_mask=torch.from_numpy(mask).cuda(),
                use_cache=False,
            ).last_hidden_state[:, -1]
            rows: Vectors = torch.nn.functional.normalize(hidden.float(), dim=-1).cpu().numpy()
        return rows


def make_arms(checkpoint: Path, directory: Path, texts: Texts, *, skip: Sequence[str]) -> list[Arm]:
    """Load the graph, and the torch weights, which three arms share.

    Args:
        checkpoint: The random checkpoint.
        directory: What was exported from it.
        texts: Gives the ids of texts.
        skip: Names of arms to leave out.
    """
    from sentence_transformers import SentenceTransformer

    _write_sentence_transformers_files(checkpoint)
    encoder = SentenceTransformer(str(checkpoint), device="cuda", model_kwargs={"dtype": torch.bfloat16})
    model: Any = encoder[0].auto_model.eval()

    def encode(batch: Sequence[str]) -> Vectors:
        return np.asarray(encoder.encode(list(batch), convert_to_numpy=True), np.float32)

    def attention(kernel: str) -> Callable[[], None]:
        return lambda: model.set_attn_implementation(kernel)

    arms = [
        Arm(ARMS[0], Graph(directory, texts).embed, prepare=lambda: None),
        Arm(ARMS[1], Padded(model, texts).embed, prepare=attention("sdpa")),
        Arm(ARMS[2], Padded(model, texts).embed, prepare=attention("flash_attention_2")),
        Arm(ARMS[3], encode, prepare=attention("sdpa")),
    ]
    return [arm for arm in arms if arm.name not in skip]


def _write_sentence_transformers_files(checkpoint: Path) -> None:
    """Write the files that sentence-transformers needs, as in the published checkpoints."""
    end = "<|endoftext|>"
    pooling = {"word_embedding_dimension": json.loads((checkpoint / "config.json").read_text())["hidden_size"]}
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
        "1_Pooling/config.json": {**pooling, "pooling_mode_mean_tokens": False, "pooling_mode_lasttoken": True},
    }
    for name, content in files.items():
        (checkpoint / name).parent.mkdir(exist_ok=True)
        (checkpoint / name).write_text(json.dumps(content), "utf-8")
