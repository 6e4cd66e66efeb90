"""The whole path: start Triton on an exported repository, embed over gRPC and HTTP, print vectors, scores and batches.

    python examples/demo.py build/demo

`make demo` exports the repository first.
"""

import json
import sys
import urllib.request
from pathlib import Path

import numpy as np
import numpy.typing as npt
from qwen3_client import Client, similarity
from qwen3_serve import ServeError, Triton

QUERIES = ["What is the capital of China?", "Explain gravity"]
DOCUMENTS = [
    "The capital of China is Beijing.",
    "Gravity is a force that attracts two bodies towards each other. It gives weight to physical objects and is "
    "responsible for the movement of planets around the sun.",
    "Процедура банкротства физических лиц",
    "北京是中华人民共和国的首都。",
]


def main(repository: Path) -> int:
    """Run the demo; return the exit code."""
    try:
        with Triton(repository) as triton:
            about = triton.models()["qwen3_embedding"]
            print(f"\nTriton {triton.server_version()} serves {about['source']} in {about['precision']}.")
            if about["source"] == "tiny":
                print("These weights are random: the numbers show that everything works, and mean nothing else.")
            if about["source"] == "demo":
                print("It is a small model for trying things out, trained on short English and Russian texts.")
            rows = {}
            for protocol, url in (("gRPC", triton.grpc_url), ("HTTP", triton.http_url)):
                with Client(url) as client:
                    rows[protocol] = client.encode_query(QUERIES), client.encode_document(DOCUMENTS)
            queries, documents = rows["gRPC"]
            show(similarity(queries, documents))
            print(f"\nqueries   {queries.dtype} {list(queries.shape)}")
            print(f"documents {documents.dtype} {list(documents.shape)}")
            equal = all(np.array_equal(a, b) for a, b in zip(*rows.values(), strict=True))
            print(f"gRPC and HTTP gave {'the same bits' if equal else 'DIFFERENT vectors'}")
            print(f"batches Triton ran: {batch_sizes(triton)}")
            if "qwen3_reranker" in triton.models():
                with Client(triton.grpc_url) as client:
                    print(f"\nreranked for {QUERIES[0]!r}")
                    if triton.models()["qwen3_reranker"]["source"] == "tiny":
                        print("The reranker's weights are random: so is this order.")
                    for hit in client.rank(QUERIES[0], DOCUMENTS):
                        print(f"  {hit.score:.4f}  {hit.index + 1}")
    except ServeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if equal else 1


def show(cosines: npt.NDArray[np.float32]) -> None:
    """Print the cosine of every query with every document."""
    print("\n" + " " * 33 + "cosine with document")
    print(" " * 33 + "".join(f"{i + 1:>9}" for i in range(len(DOCUMENTS))))
    for query, row in zip(QUERIES, cosines, strict=True):
        print(f"{query:<33}" + "".join(f"{value:9.4f}" for value in row))
    print()
    for i, document in enumerate(DOCUMENTS):
        print(f"  {i + 1}  {document if len(document) < 70 else document[:67] + '...'}")


def batch_sizes(triton: Triton) -> str:
    """Describe how many batches of each size Triton executed, from its statistics."""
    with urllib.request.urlopen(f"{triton.http_url}/v2/models/qwen3_embedding/stats", timeout=10) as answer:  # noqa: S310
        batches = json.load(answer)["model_stats"][0]["batch_stats"]
    return ", ".join(f"{batch['compute_infer']['count']} of {batch['batch_size']}" for batch in batches)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
