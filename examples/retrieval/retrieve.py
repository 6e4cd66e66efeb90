"""From a corpus to ranked answers, in LanceDB or in PostgreSQL with pgvector, with recall and time of each stage.

    python examples/retrieval/retrieve.py build/retrieval
    python examples/retrieval/retrieve.py build/retrieval --postgres

The folder holds the exported models, in `models`; `make retrieval` exports them first. What is embedded stays in it,
and a run that was stopped goes on from there.
"""

import argparse
import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from corpus import Query, write_corpus
from documents import Documents, SpaceError, read_documents
from numpy.typing import NDArray
from postgres_server import postgres_server
from qwen3_client import Client, ModelInfo, Qwen3ClientError, similarity
from qwen3_serve import ServeError, Triton
from store import By, Store

OWN_SERVER = "own"
TABLE = "retrieval_example"
CANDIDATES = 200  # by a small index
RERANKED = 20  # of them, by the full vectors, for the reranker
BEST = 10  # what recall is measured on
RERANKED_QUERIES = 10  # a reranker is much slower than all before it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example; return the exit code."""
    args = _arguments(arguments)
    folder: Path = args.folder
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with contextlib.ExitStack() as stack:
            triton = stack.enter_context(Triton(folder / "models"))
            corpus, vectors = (folder / f"{name}-{args.documents}.parquet" for name in ("corpus", "vectors"))
            queries = write_corpus(corpus, documents=args.documents, queries=args.queries)
            with Client(triton.grpc_url) as client:
                info = client.info()
            print(f"{info.source} in {info.precision}, {info.dimensions} dimensions, fingerprint {info.fingerprint}")
            if info.source == "tiny":
                print("These weights are random: recall against exact search and times mean what they say; which")
                print("document is found means nothing.")
            elif triton.models().get("qwen3_reranker", {}).get("source") == "tiny":
                print("The reranker's weights are random: its time means what it says, and its order nothing.")
            if not vectors.exists():
                embed(corpus, vectors, url=triton.grpc_url)
            documents = read_documents(corpus, vectors)
            print(f"{len(documents.ids):,} documents, {len(queries)} queries")
            store = _open_store(stack, args)
            started = time.perf_counter()
            store.load(documents, short=_short(info))
            print(f"\n{store.name}: loaded and indexed in {time.perf_counter() - started:.1f} s")
            # From here on, the database says which model may ask.
            with Client(triton.grpc_url, expected_fingerprint=store.fingerprint) as client:
                vectors_of_queries = client.encode_query([query.text for query in queries])
                report(store, documents, queries, vectors_of_queries)
                answer(store, client, queries, vectors_of_queries)
    except (OSError, Qwen3ClientError, ServeError, SpaceError) as error:
        print(error, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        return error.returncode  # the command has said why
    return 0


def embed(corpus: Path, vectors: Path, *, url: str) -> None:
    """Embed the corpus with the command, which goes on where an earlier run was stopped."""
    columns = ["--text-column", "text", "--id-column", "id"]
    command = [sys.executable, "-m", "qwen3_client", "embed", str(corpus), *columns]
    subprocess.run([*command, "--url", url, "--output", str(vectors)], check=True)


def report(
    store: Store, documents: Documents, queries: Sequence[Query], vectors: NDArray[np.float32]
) -> dict[str, float]:
    """Print recall and time of each stage, and one plan; return the recalls.

    Recall is the part of the ten nearest documents that a stage returns. The ten come from exact search, with numpy,
    over the same float32 vectors.

    Args:
        store: the loaded database.
        documents: what is in it.
        queries: the queries.
        vectors: their vectors, float32 `[n, d]`.
    """
    nearest = [set(documents.ids[row[:BEST]].tolist()) for row in np.argsort(-similarity(vectors, documents.vectors))]
    stages: dict[str, Callable[[NDArray[np.float32]], list[int]]] = {
        "exact, float16": lambda query: store.exact(query, count=BEST)
    }
    small: dict[str, By] = {"bits by Hamming": "bits", "first dimensions": "short"}
    for name, by in small.items():
        stages[f"{name}: {CANDIDATES} candidates"] = _candidates(store, by)
        stages[f"{name}, then full vectors"] = _rescored(store, by)
    recalls = {}
    print(f"  {'stage':<38}{'recall@10':>10}{'median':>11}{'own document':>14}")
    for name, search in stages.items():
        search(vectors[0])  # the first search also reads the index from the disk
        times, found = [], []
        for vector in vectors:
            started = time.perf_counter()
            found.append(search(vector))
            times.append(time.perf_counter() - started)
        recalls[name] = float(np.mean([len(best & set(ids)) / BEST for best, ids in zip(nearest, found, strict=True)]))
        own = np.mean([query.document in ids for query, ids in zip(queries, found, strict=True)])
        print(f"  {name:<38}{recalls[name]:>10.3f}{np.median(times) * 1e3:>8.2f} ms{own:>14.2f}")
    print()
    for line in store.plan(vectors[0], by="bits", candidates=CANDIDATES, count=RERANKED).split("\n"):
        print(f"  {line if len(line) <= 116 else line[:113] + '...'}")  # without all numbers of the query
    return recalls


def answer(store: Store, client: Client, queries: Sequence[Query], vectors: NDArray[np.float32]) -> None:
    """Rerank the best candidates of some queries; print the time, and the answers to the first query."""
    times: list[float] = []
    first: list[tuple[float, int, str]] = []
    for query, vector in zip(queries[:RERANKED_QUERIES], vectors, strict=False):
        ids = store.rescored(vector, by="bits", candidates=CANDIDATES, count=RERANKED)
        texts = store.texts(ids)
        started = time.perf_counter()
        hits = client.rank(query.text, texts, top_k=3)
        times.append(time.perf_counter() - started)
        first = first or [(hit.score, ids[hit.index], texts[hit.index]) for hit in hits]
    print(f"\n  reranking {RERANKED} candidates: median {np.median(times) * 1e3:.0f} ms")
    print(f"  {queries[0].text!r}, whose own document is {queries[0].document}:")
    for score, each, text in first:
        print(f"    {score:.4f}  {each:>5}  {' '.join(text.split())[:70]}")


def _candidates(store: Store, by: By) -> Callable[[NDArray[np.float32]], list[int]]:
    return lambda query: store.candidates(query, by=by, count=CANDIDATES)


def _rescored(store: Store, by: By) -> Callable[[NDArray[np.float32]], list[int]]:
    return lambda query: store.rescored(query, by=by, candidates=CANDIDATES, count=BEST)


def _short(info: ModelInfo) -> int:
    """Return a quarter of the dimensions: 256 of 1,024. Below 32, the models are not trained to be cut."""
    return max(32, info.dimensions // 4)


def _open_store(stack: contextlib.ExitStack, args: argparse.Namespace) -> Store:
    # Imported here, because each needs libraries that the other does not.
    if args.postgres is None:
        from lance_store import LanceStore

        return stack.enter_context(LanceStore(args.folder / "lance", table=TABLE))
    from postgres_store import PostgresStore

    uri = args.postgres
    if uri == OWN_SERVER:
        uri = stack.enter_context(postgres_server(args.folder / "postgres"))
    return stack.enter_context(PostgresStore(uri, table=TABLE))


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="folder for everything; its `models` holds exported models")
    parser.add_argument(
        "--postgres",
        metavar="URI",
        nargs="?",
        const=OWN_SERVER,
        help=f"use the table {TABLE} in this database, which has pgvector 0.7 or newer, in place of LanceDB; without a "
        "URI, a PostgreSQL server is started in the folder",
    )
    parser.add_argument("--documents", type=int, default=5000, help="how many documents (default: %(default)s)")
    parser.add_argument("--queries", type=int, default=100, help="how many queries (default: %(default)s)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
