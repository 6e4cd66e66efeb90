"""Vector databases at their newest versions: they have texts embedded through the gateway, and find what they should.

Each program prints the documents in the order in which the database finds them, with their dot products with the query.
"""

import numpy as np
import pytest
from qwen3_client import Client
from support.clients import DOCUMENTS, QUERY, Program, Report, python_version, run_python
from support.gateway import Gateway

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1800)]

CHROMA = ("chromadb", "openai", "ollama")
LANCEDB = ("lancedb", "openai", "ollama")


def chroma(model: str) -> str:
    """A program that has Chroma embed documents and a query with one of its embedding functions."""
    return f"""
import chromadb
from chromadb.utils import embedding_functions as functions
os.environ["CHROMA_OPENAI_API_KEY"] = "any"
model = functions.{model}
rows = chromadb.EphemeralClient().create_collection("rows", embedding_function=model, metadata={{"hnsw:space": "ip"}})
rows.add(ids=[str(i) for i in range(len(documents))], documents=documents)
found = rows.query(query_texts=[query], n_results=len(documents))
print(json.dumps([[int(name), 1 - distance] for name, distance in zip(found["ids"][0], found["distances"][0])]))
"""


def lancedb(model: str) -> str:
    """A program that has LanceDB embed documents and a query with a model of its registry."""
    return f"""
import lancedb, tempfile
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel, Vector
os.environ["OPENAI_API_KEY"] = "any"
model = get_registry().{model}
class Row(LanceModel):
    text: str = model.SourceField()
    vector: Vector(model.ndims()) = model.VectorField()
with tempfile.TemporaryDirectory() as folder:
    rows = lancedb.connect(folder).create_table("rows", schema=Row)
    rows.add([{{"text": text}} for text in documents])
    found = rows.search(query).distance_type("dot").limit(len(documents)).to_list()
print(json.dumps([[documents.index(each["text"]), 1 - each["_distance"]] for each in found]))
"""


PROGRAMS = {
    "OpenAIEmbeddingFunction": Program(
        CHROMA, "score", chroma('OpenAIEmbeddingFunction(api_base=f"{url}/v1", model_name="qwen3_embedding")')
    ),
    "OllamaEmbeddingFunction": Program(
        CHROMA, "score", chroma('OllamaEmbeddingFunction(url=url, model_name="qwen3_embedding")')
    ),
    "HuggingFaceEmbeddingServer": Program(CHROMA, "score", chroma('HuggingFaceEmbeddingServer(url=f"{url}/embed")')),
    "registry, openai": Program(
        LANCEDB,
        "score",
        # Its size must be given, and its name must be one of OpenAI's.
        lancedb('get("openai").create(name="text-embedding-3-small", dim=64, base_url=f"{url}/v1")'),
    ),
    "registry, ollama": Program(LANCEDB, "score", lancedb('get("ollama").create(name="qwen3_embedding", host=url)')),
    "points with vectors of the OpenAI API": Program(
        ("qdrant-client", "openai"),
        "score",
        """
from openai import OpenAI
from qdrant_client import QdrantClient, models
api = OpenAI(base_url=f"{url}/v1", api_key="any").embeddings
def embed(texts):
    return [item.embedding for item in api.create(input=texts, model="qwen3_embedding").data]
database = QdrantClient(":memory:")
vectors = embed(documents)
size = models.VectorParams(size=len(vectors[0]), distance=models.Distance.DOT)
database.create_collection("rows", vectors_config=size)
points = [models.PointStruct(id=i, vector=vector) for i, vector in enumerate(vectors)]
database.upsert("rows", points=points)
found = database.query_points("rows", query=embed([query])[0], limit=len(documents)).points
print(json.dumps([[point.id, point.score] for point in found]))
""",
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_database_finds_the_nearest_documents(gateway: Gateway, direct: Client, report: Report, name: str) -> None:
    program = PROGRAMS[name]
    found = run_python(program, gateway.url)
    scores = direct.encode_document(DOCUMENTS) @ direct.encode_document(QUERY)
    order = np.argsort(-scores)
    np.testing.assert_allclose(np.array(found), [[index, scores[index]] for index in order], atol=1e-6)
    library = program.requirements[0]
    report.add(library, python_version(library, *program.requirements), name)
