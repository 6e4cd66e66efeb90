"""How well texts find what belongs to them, among pairs that training did not see."""

import re
from collections.abc import Callable, Iterable, Sequence

import torch
from pairs import Pair
from torch import Tensor

Score = Callable[[Sequence[str], Sequence[str]], Tensor]  # queries and documents to scores `[queries, documents]`

# Name, kind of the pairs, how many of them, and among how many of the nearest the right one must be.
_MEASURES = (("ru-en@1 of 200", "ru", 200, 1), ("en-document@10 of 2,000", "en", 2000, 10))


def evaluate(score: Score, pairs: Iterable[Pair]) -> dict[str, float]:
    """Return recalls: the parts of the queries whose document is among those with the best scores.

    The queries of the first measure are Russian descriptions, whose documents are the English originals; it is also
    given for those that share no word with their original, such as a name. Those of the second are short descriptions,
    whose documents are the beginnings of the long ones.
    """
    pairs, recalls = list(pairs), {}
    for name, kind, count, best in _MEASURES:
        chosen = _different(pair for pair in pairs if pair.kind == kind)[:count]
        queries, documents = [pair.query for pair in chosen], [pair.document for pair in chosen]
        hits = _hits(score(queries, documents), best)
        recalls[name] = float(hits.mean())
        if kind == "ru":
            foreign = torch.tensor([not _words(pair.query) & _words(pair.document) for pair in chosen])
            recalls[f"{name}, the {int(foreign.sum())} without a common word"] = float(hits[foreign].mean())
    return recalls


def count_common_words(queries: Sequence[str], documents: Sequence[str]) -> Tensor:
    """Score as a search without a model: the number of common words, divided by the root of the document's."""
    of_documents = [_words(document) for document in documents]
    return torch.tensor(
        [[len(_words(query) & words) / (1 + len(words)) ** 0.5 for words in of_documents] for query in queries]
    )


def _different(pairs: Iterable[Pair]) -> list[Pair]:
    """Leave out pairs whose query or document is that of another one."""
    chosen: list[Pair] = []
    queries: set[str] = set()
    documents: set[str] = set()
    for pair in pairs:
        if pair.query not in queries and pair.document not in documents:
            queries.add(pair.query)
            documents.add(pair.document)
            chosen.append(pair)
    return chosen


def _hits(scores: Tensor, best: int) -> Tensor:
    """Return for each query how likely its document is among the best, if equal scores are put in order by chance."""
    own = scores.diagonal()[:, None]
    better, equal = (scores > own).sum(1), (scores == own).sum(1)
    return ((best - better) / equal).clamp(0, 1)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))
