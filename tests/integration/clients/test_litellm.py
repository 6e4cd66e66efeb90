"""litellm at its newest version: every provider of embeddings and of reranking that can be given an address.

litellm takes seconds to import, so one program asks all providers of a kind, and prints what each got.
"""

from typing import Any

import numpy as np
import pytest
from qwen3_client import Client
from support.clients import DOCUMENTS, QUERY, Program, Report, python_version, run_python
from support.gateway import Gateway

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1800)]

LITELLM = ("litellm",)

# The path that a user writes behind the gateway's address, and further arguments.
EMBEDDING: dict[str, tuple[str, dict[str, str]]] = {
    "azure": ("", {"api_version": "2024-10-21"}),
    "azure_ai": ("", {}),
    "cohere": ("/v2/embed", {}),
    "cometapi": ("/v1", {}),
    "dashscope": ("/v1", {}),
    "databricks": ("/v1", {}),
    "edenai": ("/v1", {}),
    "fireworks_ai": ("/v1", {}),
    "hosted_vllm": ("/v1", {}),
    "huggingface/TEI": ("", {"input_type": "feature-extraction"}),
    "infinity": ("", {}),
    "jina_ai": ("/v1", {}),
    "litellm_proxy": ("/v1", {}),
    "llamafile": ("/v1", {}),
    "lm_studio": ("/v1", {}),
    "mistral": ("/v1", {}),
    "nebius": ("/v1", {}),
    "nvidia_nim": ("/v1", {"input_type": "passage"}),
    "ollama": ("", {}),
    "openai": ("/v1", {}),
    "openai_like": ("/v1", {}),
    "openrouter": ("/v1", {}),
    "ovhcloud": ("/v1", {}),
    "sambanova": ("/v1", {}),
    "together_ai": ("/v1", {}),
    "vercel_ai_gateway": ("/v1", {}),
    "voyage": ("/v1", {}),
    "wandb": ("/v1", {}),
    "xinference": ("/v1", {}),
}
QUERIES: dict[str, tuple[str, dict[str, str]]] = {
    "cohere": ("/v1/embed", {"input_type": "search_query"}),
    "nvidia_nim": ("/v1", {"input_type": "query"}),
    "voyage": ("/v1", {"input_type": "query"}),
}
# infinity's request cannot be told from hosted_vllm's, which expects documents in another form.
RERANKING: dict[str, tuple[str, dict[str, bool]]] = {
    "azure_ai": ("", {}),
    "cohere": ("", {}),
    "fireworks_ai": ("/v1", {}),
    "hosted_vllm": ("", {}),
    "huggingface/TEI": ("", {}),
    "infinity": ("", {"return_documents": False}),
    "jina_ai": ("", {}),
    "litellm_proxy": ("", {}),
    "nvidia_nim": ("", {}),
    "nvidia_nim/ranking": ("", {}),
    "together_ai": ("/v1", {}),
    "voyage": ("/v1", {}),
}
START = """
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it is downloaded
import litellm
answers = {}
"""
EMBED = """
for provider, (path, options) in asked.items():
    try:
        answer = litellm.embedding(
            model=f"{provider}/qwen3_embedding", input=documents, api_base=f"{url}{path}", api_key="any", **options
        )
        answers[provider] = [item["embedding"] for item in answer.data]
    except Exception as error:
        answers[provider] = str(error)
print(json.dumps(answers))
"""
RERANK = """
for provider, (path, options) in asked.items():
    try:
        answer = litellm.rerank(
            model=f"{provider}/qwen3_reranker", query=query, documents=documents, top_n=len(documents),
            api_base=f"{url}{path}", api_key="any", **options,
        )
        answers[provider] = [[each["index"], each["relevance_score"]] for each in answer.results]
    except Exception as error:
        answers[provider] = str(error)
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers(gateway: Gateway) -> dict[str, dict[str, Any]]:
    """What all providers got, by kind; the message of its error for one that failed."""
    asked: dict[str, tuple[Any, str]] = {"document": (EMBEDDING, EMBED), "query": (QUERIES, EMBED)}
    asked["score"] = RERANKING, RERANK
    return {
        kind: dict(run_python(Program(LITELLM, kind, f"{START}asked = {providers!r}\n{code}"), gateway.url))  # type: ignore[arg-type, call-overload]
        for kind, (providers, code) in asked.items()
    }


@pytest.fixture(scope="module")
def version() -> str:
    """Return the version of litellm."""
    return python_version("litellm", *LITELLM)


@pytest.mark.parametrize("provider", EMBEDDING)
def test_a_provider_embeds(
    answers: dict[str, dict[str, Any]], direct: Client, report: Report, version: str, provider: str
) -> None:
    answer = answers["document"][provider]
    assert isinstance(answer, list), answer
    np.testing.assert_allclose(answer, direct.encode_document(DOCUMENTS), atol=1e-7)
    report.add("litellm", version, f"embedding, {provider}")


@pytest.mark.parametrize("provider", QUERIES)
def test_a_provider_embeds_queries(
    answers: dict[str, dict[str, Any]], direct: Client, report: Report, version: str, provider: str
) -> None:
    answer = answers["query"][provider]
    assert isinstance(answer, list), answer
    np.testing.assert_allclose(answer, direct.encode_query(DOCUMENTS), atol=1e-7)
    report.add("litellm", version, f"embedding, {provider}, queries")


@pytest.mark.parametrize("provider", RERANKING)
def test_a_provider_reranks(
    answers: dict[str, dict[str, Any]], direct: Client, report: Report, version: str, provider: str
) -> None:
    answer = answers["score"][provider]
    assert isinstance(answer, list), answer
    is_nim = provider.startswith("nvidia_nim")
    expected = [[hit.index, hit.logit if is_nim else hit.score] for hit in direct.rank(QUERY, DOCUMENTS)]
    np.testing.assert_allclose(answer, expected, rtol=1e-6)
    report.add("litellm", version, f"rerank, {provider}")
