"""Other people's Python clients at their newest versions embed through the gateway, unchanged."""

import numpy as np
import pytest
from qwen3_client import Client
from support.clients import DOCUMENTS, Program, Report, python_version, run_python
from support.gateway import Gateway

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1800)]

OPENAI = ("openai",)
COHERE = ("cohere",)
OLLAMA = ("ollama",)
HUB = ("huggingface_hub", "numpy")
NVIDIA = ("langchain-nvidia-ai-endpoints",)
HAYSTACK_TEI = ("huggingface-api-haystack", "haystack-ai")


def haystack(start: str) -> str:
    """A program that embeds with a component of Haystack's, `model`."""
    return f"""
from haystack import Document
from haystack.utils import Secret
key = Secret.from_token("any")
{start}
made = model.run([Document(content=text) for text in documents])["documents"]
print(json.dumps([each.embedding for each in made]))
"""


PROGRAMS = {
    "OpenAI API": Program(
        OPENAI,
        "document",
        """
from openai import OpenAI
made = OpenAI(base_url=f"{url}/v1", api_key="any").embeddings.create(input=documents, model="text-embedding-3-small")
print(json.dumps([item.embedding for item in made.data]))
""",
    ),
    "OpenAI API, awaited, floats": Program(
        OPENAI,
        "document",
        """
import asyncio
from openai import AsyncOpenAI
async def ask():
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="any") as client:
        return await client.embeddings.create(input=documents, model="qwen3_embedding", encoding_format="float")
print(json.dumps([item.embedding for item in asyncio.run(ask()).data]))
""",
    ),
    "Azure's client": Program(
        OPENAI,
        "document",
        """
from openai import AzureOpenAI
client = AzureOpenAI(azure_endpoint=url, api_key="any", api_version="2024-10-21")
made = client.embeddings.create(input=documents, model="qwen3_embedding", dimensions=64)
print(json.dumps([item.embedding for item in made.data]))
""",
    ),
    "v1 embed": Program(
        COHERE,
        "document",
        """
import cohere
client = cohere.Client("any", base_url=url)
print(json.dumps(client.embed(texts=documents, model="qwen3_embedding", input_type="search_document").embeddings))
""",
    ),
    "v2 embed": Program(
        COHERE,
        "query",
        """
import cohere
client = cohere.ClientV2("any", base_url=url)
made = client.embed(
    texts=documents, model="qwen3_embedding", input_type="search_query", embedding_types=["float"],
    output_dimension=64, truncate="END",
)
print(json.dumps(made.embeddings.float_))
""",
    ),
    "embed": Program(
        OLLAMA,
        "document",
        """
import ollama
client = ollama.Client(host=url)
(name,) = [each.model for each in client.list().models if "embedding" in each.model]
client.pull(name)
assert client.show(name).capabilities == ["embedding"], client.show(name)
assert name in [each.model for each in client.ps().models]
print(json.dumps(client.embed(model=name, input=documents, keep_alive="5m").embeddings))
""",
    ),
    "embeddings, awaited": Program(
        OLLAMA,
        "document",
        """
import asyncio, ollama
async def ask():
    client = ollama.AsyncClient(host=url)
    return [await client.embeddings(model="qwen3_embedding:latest", prompt=text) for text in documents]
print(json.dumps([list(each.embedding) for each in asyncio.run(ask())]))
""",
    ),
    "feature_extraction": Program(
        HUB,
        "document",
        """
from huggingface_hub import InferenceClient
client = InferenceClient(base_url=url, api_key="any")
vectors = [client.feature_extraction(text, normalize=True, truncate=True)[0].tolist() for text in documents]
scores = client.sentence_similarity(documents[0], documents)
import numpy as np
expected = np.array(vectors) @ np.array(vectors[0])
assert np.allclose(scores, expected, atol=1e-6), (scores, expected)
print(json.dumps(vectors))
""",
    ),
    "feature_extraction, queries, awaited": Program(
        HUB,
        "query",
        """
import asyncio
from huggingface_hub import AsyncInferenceClient
async def ask():
    async with AsyncInferenceClient(model=url) as client:
        return [await client.feature_extraction(text, prompt_name="query") for text in documents]
print(json.dumps([each[0].tolist() for each in asyncio.run(ask())]))
""",
    ),
    "OpenAIEmbeddings": Program(
        ("langchain-openai",),
        "document",
        """
from langchain_openai import OpenAIEmbeddings
model = OpenAIEmbeddings(base_url=f"{url}/v1", api_key="any", model="qwen3_embedding", check_embedding_ctx_length=False)
print(json.dumps(model.embed_documents(documents)))
""",
    ),
    "AzureOpenAIEmbeddings": Program(
        ("langchain-openai",),
        "document",
        """
from langchain_openai import AzureOpenAIEmbeddings
model = AzureOpenAIEmbeddings(
    azure_endpoint=url, api_key="any", api_version="2024-10-21", model="qwen3_embedding",
    check_embedding_ctx_length=False,
)
print(json.dumps(model.embed_documents(documents)))
""",
    ),
    "CohereEmbeddings": Program(
        ("langchain-cohere",),
        "document",
        """
from langchain_cohere import CohereEmbeddings
model = CohereEmbeddings(base_url=url, cohere_api_key="any", model="qwen3_embedding")
print(json.dumps(model.embed_documents(documents)))
""",
    ),
    "CohereEmbeddings, queries": Program(
        ("langchain-cohere",),
        "query",
        """
from langchain_cohere import CohereEmbeddings
model = CohereEmbeddings(base_url=url, cohere_api_key="any", model="qwen3_embedding")
print(json.dumps([model.embed_query(text) for text in documents]))
""",
    ),
    "NVIDIAEmbeddings": Program(
        NVIDIA,
        "document",
        """
from langchain_nvidia_ai_endpoints import NVIDIAEmbeddings
model = NVIDIAEmbeddings(base_url=f"{url}/v1", model="qwen3_embedding", api_key="any")
print(json.dumps(model.embed_documents(documents)))
""",
    ),
    "NVIDIAEmbeddings, queries": Program(
        NVIDIA,
        "query",
        """
from langchain_nvidia_ai_endpoints import NVIDIAEmbeddings
model = NVIDIAEmbeddings(base_url=f"{url}/v1", model="qwen3_embedding", api_key="any")
print(json.dumps([model.embed_query(text) for text in documents]))
""",
    ),
    "OllamaEmbeddings": Program(
        ("langchain-ollama",),
        "document",
        """
from langchain_ollama import OllamaEmbeddings
model = OllamaEmbeddings(base_url=url, model="qwen3_embedding", num_ctx=2048)
print(json.dumps(model.embed_documents(documents)))
""",
    ),
    "HuggingFaceEndpointEmbeddings": Program(
        ("langchain-huggingface", "numpy"),
        "document",
        """
from langchain_huggingface import HuggingFaceEndpointEmbeddings
from huggingface_hub import InferenceClient
model = HuggingFaceEndpointEmbeddings(model="Qwen/Qwen3-Embedding-0.6B", huggingfacehub_api_token="any")
model.client = InferenceClient(base_url=url)  # as `model`, it refuses an address

print(json.dumps(model.embed_documents(documents)))
""",
    ),
    "OpenAILikeEmbedding": Program(
        ("llama-index-embeddings-openai-like",),
        "document",
        """
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
model = OpenAILikeEmbedding(model_name="qwen3_embedding", api_base=f"{url}/v1", api_key="any")
print(json.dumps(model.get_text_embedding_batch(documents)))
""",
    ),
    "TextEmbeddingsInference": Program(
        ("llama-index-embeddings-text-embeddings-inference",),
        "document",
        """
from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference
model = TextEmbeddingsInference(base_url=url, model_name="qwen3_embedding", text_instruction=" ")
print(json.dumps(model.get_text_embedding_batch(documents)))
""",
    ),
    "CohereEmbedding": Program(
        ("llama-index-embeddings-cohere",),
        "document",
        """
from llama_index.embeddings.cohere import CohereEmbedding
model = CohereEmbedding(api_key="any", base_url=url, model_name="embed-v4.0")
print(json.dumps(model.get_text_embedding_batch(documents)))
""",
    ),
    "OllamaEmbedding": Program(
        ("llama-index-embeddings-ollama",),
        "document",
        """
from llama_index.embeddings.ollama import OllamaEmbedding
model = OllamaEmbedding(model_name="qwen3_embedding", base_url=url)
print(json.dumps(model.get_text_embedding_batch(documents)))
""",
    ),
    "NVIDIAEmbedding": Program(
        ("llama-index-embeddings-nvidia", "openai"),  # which it imports and does not ask for
        "document",
        """
from llama_index.embeddings.nvidia import NVIDIAEmbedding
model = NVIDIAEmbedding(base_url=f"{url}/v1", model="qwen3_embedding", api_key="any")
print(json.dumps(model.get_text_embedding_batch(documents)))
""",
    ),
    "JinaEmbedding": Program(
        ("llama-index-embeddings-jinaai",),
        "document",
        """
from llama_index.embeddings.jinaai import JinaEmbedding
model = JinaEmbedding(api_key="any", model="qwen3_embedding", task="retrieval.passage")
model._api.api_url = f"{url}/v1/embeddings"  # it has no option for its address
print(json.dumps(model.get_text_embedding_batch(documents)))
""",
    ),
    "embeddings": Program(
        ("infinity_client",),
        "document",
        """
from infinity_client import Client
from infinity_client.api.default import embeddings
from infinity_client.models import OpenAIEmbeddingInputText
body = OpenAIEmbeddingInputText(input_=documents, model="qwen3_embedding")
answer = embeddings.sync(client=Client(base_url=url), body=body)
print(json.dumps([item.embedding for item in answer.data]))
""",
    ),
    "embed, queries": Program(
        ("voyageai",),
        "query",
        """
import voyageai
client = voyageai.Client(api_key="any", base_url=f"{url}/v1")
print(json.dumps(client.embed(documents, model="qwen3_embedding", input_type="query", output_dimension=64).embeddings))
""",
    ),
    "HuggingFaceAPIDocumentEmbedder": Program(
        HAYSTACK_TEI,
        "document",
        haystack("""
from haystack_integrations.components.embedders.huggingface_api import HuggingFaceAPIDocumentEmbedder
model = HuggingFaceAPIDocumentEmbedder(
    api_type="text_embeddings_inference", api_params={"url": url}, token=key
)
"""),
    ),
    "OpenAIDocumentEmbedder": Program(
        ("haystack-ai",),
        "document",
        haystack("""
from haystack.components.embedders import OpenAIDocumentEmbedder
model = OpenAIDocumentEmbedder(api_key=key, api_base_url=f"{url}/v1", model="qwen3_embedding")
"""),
    ),
    "CohereDocumentEmbedder": Program(
        ("cohere-haystack",),
        "document",
        haystack("""
from haystack_integrations.components.embedders.cohere import CohereDocumentEmbedder
model = CohereDocumentEmbedder(api_key=key, api_base_url=url, model="qwen3_embedding")
"""),
    ),
    "NvidiaDocumentEmbedder": Program(
        ("nvidia-haystack",),
        "document",
        haystack("""
from haystack_integrations.components.embedders.nvidia import NvidiaDocumentEmbedder
model = NvidiaDocumentEmbedder(api_key=key, api_url=f"{url}/v1", model="qwen3_embedding")
"""),
    ),
    "JinaDocumentEmbedder": Program(
        ("jina-haystack",),
        "document",
        haystack("""
from haystack_integrations.components.embedders.jina import JinaDocumentEmbedder
model = JinaDocumentEmbedder(
    api_key=key, base_url=f"{url}/v1/embeddings", model="qwen3_embedding", task="retrieval.passage", late_chunking=False
)
"""),
    ),
    "OllamaDocumentEmbedder": Program(
        ("ollama-haystack",),
        "document",
        haystack("""
from haystack_integrations.components.embedders.ollama import OllamaDocumentEmbedder
model = OllamaDocumentEmbedder(model="qwen3_embedding", url=url)
"""),
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_library_embeds(gateway: Gateway, direct: Client, report: Report, name: str) -> None:
    program = PROGRAMS[name]
    made = np.array(run_python(program, gateway.url))
    expected = direct.encode_query(DOCUMENTS) if program.gives == "query" else direct.encode_document(DOCUMENTS)
    np.testing.assert_allclose(made, expected, atol=1e-7)
    library = program.requirements[0]
    report.add(library, python_version(library, *program.requirements), name)
