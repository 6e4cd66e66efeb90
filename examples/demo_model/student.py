"""The student: Qwen3's decoder with last-token pooling, written for training.

Two things are cheaper than in transformers: the instruction, which all queries begin with, is computed once per batch,
and the last layer computes the last token alone.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (as everywhere)

HIDDEN = 256
INTERMEDIATE = 512
LAYERS = 3
HEADS = 4  # of queries, and of keys and values
HEAD_DIM = 64
EPSILON = 1e-6
ROPE_THETA = 1_000_000.0

Cache = list[tuple[Tensor, Tensor]]  # for each layer keys and values `[1, heads, tokens, head_dim]`


def new_weights(token_vectors: Tensor, *, end: int) -> dict[str, Tensor]:
    """Return the weights to start from, by their names in a checkpoint.

    The first layer adds the mean of the tokens' vectors to each token, and the others add little.

    Args:
        token_vectors: Unit vectors `[tokens, hidden]`.
        end: The id of the token that is pooled, after all others.
    """
    table = torch.zeros(end + 1, HIDDEN)
    table[: len(token_vectors)] = token_vectors * 0.8
    table[end] = torch.randn(HIDDEN) * 0.005
    weights = {"embed_tokens.weight": table, "norm.weight": torch.ones(HIDDEN)}
    size = HEADS * HEAD_DIM
    for layer in range(LAYERS):
        attention, mlp = f"layers.{layer}.self_attn", f"layers.{layer}.mlp"
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"layers.{layer}.{name}.weight"] = torch.ones(HIDDEN)
        for name in "qkv":
            weights[f"{attention}.{name}_proj.weight"] = torch.randn(size, HIDDEN) * 0.03
        weights[f"{attention}.o_proj.weight"] = torch.randn(HIDDEN, size) * 0.01
        weights[f"{attention}.q_norm.weight"] = torch.ones(HEAD_DIM)
        weights[f"{attention}.k_norm.weight"] = torch.full((HEAD_DIM,), 0.3)  # attends to all tokens nearly alike
        for name in ("gate", "up"):
            weights[f"{mlp}.{name}_proj.weight"] = torch.randn(INTERMEDIATE, HIDDEN) * 0.03
        weights[f"{mlp}.down_proj.weight"] = torch.randn(HIDDEN, INTERMEDIATE) * 0.005
    for name in ("v", "o"):
        weights[f"layers.0.self_attn.{name}_proj.weight"] = torch.eye(HIDDEN)
    return weights


def mean_of_tokens(weights: dict[str, Tensor], rows: Sequence[Sequence[int]]) -> Tensor:
    """Return the unit vectors `[n, hidden]` of texts, made of nothing but their tokens' normalised vectors."""
    lengths = torch.tensor([len(row) - 1 for row in rows])  # without the end token
    ids = torch.tensor([token for row in rows for token in row[:-1]])
    vectors = _norm(F.embedding(ids, weights["embed_tokens.weight"]))
    texts = torch.repeat_interleave(torch.arange(len(rows)), lengths)
    return F.normalize(torch.zeros(len(rows), HIDDEN).index_add(0, texts, vectors), dim=-1)


def encode(weights: dict[str, Tensor], rows: Sequence[Sequence[int]], *, prefix: Sequence[int] = ()) -> Tensor:
    """Return the unit vectors `[n, hidden]` of texts that begin with the same tokens.

    Args:
        weights: From `new_weights`.
        rows: The token ids of each text after the prefix.
        prefix: The token ids that all texts begin with.
    """
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
    with torch.autocast("cpu", torch.bfloat16):
        past = None
        if prefix:
            past = decode(weights, torch.tensor([list(prefix)]), torch.tensor([len(prefix)]))[1]
        hidden, _ = decode(weights, ids, torch.tensor([len(row) for row in rows]), past)
    return F.normalize(hidden.float(), dim=-1)


def decode(weights: dict[str, Tensor], ids: Tensor, lengths: Tensor, past: Cache | None = None) -> tuple[Tensor, Cache]:
    """Return the hidden states `[n, hidden]` of the texts' last tokens, and keys and values.

    Args:
        weights: From `new_weights`.
        ids: Token ids `[n, longest]`. What follows a text's last token is not read: attention is causal.
        lengths: Number of tokens of each text.
        past: Keys and values of the tokens before all texts.
    """
    (n, longest), texts, last = ids.shape, torch.arange(len(ids)), lengths - 1
    before = 0 if past is None else past[0][0].shape[2]
    angles = torch.arange(before, before + longest)[:, None] * ROPE_THETA ** (-torch.arange(0, HEAD_DIM, 2) / HEAD_DIM)
    cos, sin = (part.repeat(1, 2)[None, None] for part in (angles.cos(), angles.sin()))
    mask = torch.ones(longest, before + longest, dtype=torch.bool).tril(before)
    h, cache = F.embedding(ids, weights["embed_tokens.weight"]), []
    for layer in (f"layers.{index}" for index in range(LAYERS)):

        def heads(x: Tensor, name: str, layer: str = layer) -> Tensor:
            projected = F.linear(x, weights[f"{layer}.self_attn.{name}_proj.weight"])
            return projected.view(n, -1, HEADS, HEAD_DIM).transpose(1, 2)

        def normed(x: Tensor, name: str, layer: str = layer) -> Tensor:
            return _norm(heads(x, name).float(), weights[f"{layer}.self_attn.{name}_norm.weight"])

        x = _norm(h, weights[f"{layer}.input_layernorm.weight"])
        v = heads(x, "v")
        k = _rotate(normed(x, "k"), cos, sin).to(v.dtype)
        cache.append((k, v))
        if past is not None:
            earlier = past[len(cache) - 1]
            k, v = (torch.cat([a.expand(n, -1, -1, -1), b], 2) for a, b in zip(earlier, (k, v), strict=True))
        if len(cache) == LAYERS:
            h, x = h[texts, last][:, None], x[texts, last][:, None]
            cos, sin = (part[0, 0, last][:, None, None] for part in (cos, sin))
            mask = (torch.arange(before + longest) < before + lengths[:, None])[:, None, None]
        q = _rotate(normed(x, "q"), cos, sin).to(v.dtype)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        h = h + F.linear(attended, weights[f"{layer}.self_attn.o_proj.weight"])
        x = _norm(h, weights[f"{layer}.post_attention_layernorm.weight"])
        gate, up = (F.linear(x, weights[f"{layer}.mlp.{name}_proj.weight"]) for name in ("gate", "up"))
        h = h + F.linear(F.silu(gate) * up, weights[f"{layer}.mlp.down_proj.weight"])
    return _norm(h[:, 0], weights["norm.weight"]), cache


def _norm(x: Tensor, gain: Tensor | None = None) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], gain, EPSILON)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin
