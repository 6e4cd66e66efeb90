"""Other people's Python clients at their newest versions rerank through the gateway, unchanged."""

import numpy as np
import pytest
from qwen3_client import Client
from support.clients import DOCUMENTS, QUERY, Program, Report, python_version, run_python
from support.gateway import Gateway

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1800)]

COHERE = ("cohere",)


def llama_index(start: str) -> str:
    """A program that reranks with a postprocessor of LlamaIndex's, `model`."""
    return f"""
from llama_index.core.schema import NodeWithScore, TextNode
{start}
nodes = [NodeWithScore(node=TextNode(text=text), score=0.0) for text in documents]
found = model.postprocess_nodes(nodes, query_str=query)
print(json.dumps([[documents.index(each.node.get_content()), float(each.score)] for each in found]))
"""


def haystack(start: str) -> str:
    """A program that reranks with a component of Haystack's, `model`."""
    return f"""
from haystack import Document
from haystack.utils import Secret
key = Secret.from_token("any")
{start}
found = model.run(query=query, documents=[Document(content=text) for text in documents])["documents"]
print(json.dumps([[documents.index(each.content), each.score] for each in found]))
"""


PROGRAMS = {
    "v1 rerank": Program(
        COHERE,
        "score",
        """
import cohere
found = cohere.Client("any", base_url=url).rerank(
    model="rerank-v4.0-pro", query=query, documents=documents, top_n=4, return_documents=True
).results
assert [each.document.text for each in found] == [documents[each.index] for each in found]
print(json.dumps([[each.index, each.relevance_score] for each in found]))
""",
    ),
    "v2 rerank": Program(
        COHERE,
        "score",
        """
import cohere
found = cohere.ClientV2("any", base_url=url).rerank(model="qwen3_reranker", query=query, documents=documents).results
print(json.dumps([[each.index, each.relevance_score] for each in found]))
""",
    ),
    "rerank": Program(
        ("voyageai",),
        "score",
        """
import voyageai
client = voyageai.Client(api_key="any", base_url=f"{url}/v1")
found = client.rerank(query, documents, model="qwen3_reranker", top_k=4, truncation=True).results
assert [each.document for each in found] == [documents[each.index] for each in found]
print(json.dumps([[each.index, each.relevance_score] for each in found]))
""",
    ),
    "rerank, Infinity's own": Program(
        ("infinity_client",),
        "score",
        """
from infinity_client import Client
from infinity_client.api.default import rerank
from infinity_client.models import RerankInput
body = RerankInput(query=query, documents=documents, model="qwen3_reranker", return_documents=True)
found = rerank.sync(client=Client(base_url=url), body=body).results
assert [each.document for each in found] == [documents[each.index] for each in found]
print(json.dumps([[each.index, each.relevance_score] for each in found]))
""",
    ),
    "NVIDIARerank": Program(
        ("langchain-nvidia-ai-endpoints",),
        "logit",
        """
from langchain_core.documents import Document
from langchain_nvidia_ai_endpoints import NVIDIARerank
model = NVIDIARerank(base_url=f"{url}/v1", model="qwen3_reranker", api_key="any", top_n=4)
found = model.compress_documents(query=query, documents=[Document(page_content=text) for text in documents])
print(json.dumps([[documents.index(each.page_content), each.metadata["relevance_score"]] for each in found]))
""",
    ),
    "CohereRerank": Program(
        ("langchain-cohere",),
        "score",
        """
from langchain_cohere import CohereRerank
model = CohereRerank(base_url=url, cohere_api_key="any", model="qwen3_reranker", top_n=4)
print(json.dumps([[each["index"], each["relevance_score"]] for each in model.rerank(documents, query)]))
""",
    ),
    "TextEmbeddingInference": Program(
        ("llama-index-postprocessor-tei-rerank",),
        "score",
        llama_index("""
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference
model = TextEmbeddingInference(base_url=f"{url}/reranker", top_n=4)
"""),
    ),
    "NVIDIARerank, LlamaIndex": Program(
        ("llama-index-postprocessor-nvidia-rerank",),
        "logit",
        llama_index("""
from llama_index.postprocessor.nvidia_rerank import NVIDIARerank
model = NVIDIARerank(base_url=f"{url}/v1", model="qwen3_reranker", api_key="any", top_n=4)
"""),
    ),
    "CohereRerank, LlamaIndex": Program(
        ("llama-index-postprocessor-cohere-rerank",),
        "score",
        llama_index("""
from llama_index.postprocessor.cohere_rerank import CohereRerank
model = CohereRerank(api_key="any", base_url=url, model="qwen3_reranker", top_n=4)
"""),
    ),
    "JinaRerank": Program(
        ("llama-index-postprocessor-jinaai-rerank",),
        "score",
        llama_index("""
from llama_index.postprocessor.jinaai_rerank import JinaRerank
model = JinaRerank(api_key="any", base_url=f"{url}/v1", model="qwen3_reranker", top_n=4)
"""),
    ),
    "CohereRanker": Program(
        ("cohere-haystack",),
        "score",
        haystack("""
from haystack_integrations.components.rankers.cohere import CohereRanker
model = CohereRanker(model="qwen3_reranker", api_key=key, api_base_url=url, top_k=4)
"""),
    ),
    "JinaRanker": Program(
        ("jina-haystack",),
        "score",
        haystack("""
from haystack_integrations.components.rankers.jina import JinaRanker
model = JinaRanker(model="qwen3_reranker", api_key=key, base_url=f"{url}/v1/rerank", top_k=4)
"""),
    ),
    "NvidiaRanker": Program(
        ("nvidia-haystack",),
        "logit",
        haystack("""
from haystack_integrations.components.rankers.nvidia import NvidiaRanker
model = NvidiaRanker(model="qwen3_reranker", api_key=key, api_url=f"{url}/v1", top_k=4)
model.warm_up()
"""),
    ),
    "HuggingFaceTEIRanker": Program(
        ("huggingface-api-haystack", "haystack-ai"),
        "score",
        haystack("""
from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker
model = HuggingFaceTEIRanker(url=url, top_k=4, token=key)
"""),
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_library_reranks(gateway: Gateway, direct: Client, report: Report, name: str) -> None:
    program = PROGRAMS[name]
    found = run_python(program, gateway.url)
    ranking = direct.rank(QUERY, DOCUMENTS)
    expected = [[hit.index, hit.logit if program.gives == "logit" else hit.score] for hit in ranking]
    np.testing.assert_allclose(np.array(found), expected, rtol=1e-6)
    library = program.requirements[0]
    report.add(library, python_version(library, *program.requirements), name)
