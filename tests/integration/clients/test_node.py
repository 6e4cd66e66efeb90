"""Other people's clients for Node at their newest versions, unchanged. Node itself is installed for it."""

import numpy as np
import pytest
from qwen3_client import Client
from support.clients import DOCUMENTS, QUERY, Program, Report, node_version, run_node
from support.gateway import Gateway

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1800)]

PROGRAMS = {
    "embeddings.create": Program(
        ("openai",),
        "document",
        """
import OpenAI from "openai"
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "any" })
const made = await client.embeddings.create({ input: documents, model: "text-embedding-3-small" })
print(made.data.map(item => item.embedding))
""",
    ),
    "embed, embeddings": Program(
        ("ollama",),
        "document",
        """
import { Ollama } from "ollama"
const client = new Ollama({ host: url })
const model = (await client.list()).models.map(each => each.name).find(name => name.includes("embedding"))
await client.show({ model })
const one = await client.embeddings({ model, prompt: documents[0] })
const made = (await client.embed({ model, input: documents })).embeddings
if (Math.abs(one.embedding[3] - made[0][3]) > 1e-7) throw new Error("embed and embeddings differ")
print(made)
""",
    ),
    "embed, v1": Program(
        ("cohere-ai",),
        "document",
        """
import { CohereClient } from "cohere-ai"
const client = new CohereClient({ token: "any", environment: url, baseUrl: url })
print((await client.embed({ texts: documents, model: "qwen3_embedding", inputType: "search_document" })).embeddings)
""",
    ),
    "embed, v2, queries": Program(
        ("cohere-ai",),
        "query",
        """
import { CohereClientV2 } from "cohere-ai"
const client = new CohereClientV2({ token: "any", environment: url, baseUrl: url })
const made = await client.embed({
  texts: documents, model: "qwen3_embedding", inputType: "search_query", embeddingTypes: ["float"],
})
print(made.embeddings.float)
""",
    ),
    "rerank, v2": Program(
        ("cohere-ai",),
        "score",
        """
import { CohereClientV2 } from "cohere-ai"
const client = new CohereClientV2({ token: "any", environment: url, baseUrl: url })
const found = await client.rerank({ model: "qwen3_reranker", query, documents, topN: 4 })
print(found.results.map(each => [each.index, each.relevanceScore]))
""",
    ),
    "featureExtraction": Program(
        ("@huggingface/inference",),
        "document",
        """
import { InferenceClient } from "@huggingface/inference"
const client = new InferenceClient("any", { endpointUrl: url })
print(await client.featureExtraction({ inputs: documents, normalize: true, truncate: true }))
""",
    ),
    "embedMany": Program(
        ("@ai-sdk/openai-compatible", "ai"),
        "document",
        """
import { createOpenAICompatible } from "@ai-sdk/openai-compatible"
import { embedMany } from "ai"
const provider = createOpenAICompatible({ name: "qwen3", baseURL: `${url}/v1`, apiKey: "any" })
const made = await embedMany({ model: provider.embeddingModel("qwen3_embedding"), values: documents })
print(made.embeddings)
""",
    ),
    "embedMany, queries": Program(
        ("@ai-sdk/cohere", "ai"),
        "query",
        """
import { createCohere } from "@ai-sdk/cohere"
import { embedMany } from "ai"
const provider = createCohere({ baseURL: `${url}/v2`, apiKey: "any" })
const made = await embedMany({ model: provider.embeddingModel("qwen3_embedding"), values: documents })
print(made.embeddings)
""",
    ),
    "rerank": Program(
        ("@ai-sdk/cohere", "ai"),
        "score",
        """
import { createCohere } from "@ai-sdk/cohere"
import { rerank } from "ai"
const provider = createCohere({ baseURL: `${url}/v2`, apiKey: "any" })
const found = await rerank({ model: provider.reranking("qwen3_reranker"), query, documents, topN: 4 })
print(found.ranking.map(each => [each.originalIndex, each.score]))
""",
    ),
    "embed, queries": Program(
        ("voyageai",),
        "query",
        """
import { VoyageAIClient } from "voyageai"
const client = new VoyageAIClient({ apiKey: "any", environment: `${url}/v1` })
const made = await client.embed({ input: documents, model: "qwen3_embedding", inputType: "query", outputDimension: 64 })
print(made.data.map(item => item.embedding))
""",
    ),
    "rerank, Voyage": Program(
        ("voyageai",),
        "score",
        """
import { VoyageAIClient } from "voyageai"
const client = new VoyageAIClient({ apiKey: "any", environment: `${url}/v1` })
const found = await client.rerank({ query, documents, model: "qwen3_reranker", topK: 4, returnDocuments: true })
if (found.data.some(each => each.document !== documents[each.index])) throw new Error("other documents")
print(found.data.map(each => [each.index, each.relevanceScore]))
""",
    ),
    "embedMany, OpenAI": Program(
        ("@ai-sdk/openai", "ai"),
        "document",
        """
import { createOpenAI } from "@ai-sdk/openai"
import { embedMany } from "ai"
const provider = createOpenAI({ baseURL: `${url}/v1`, apiKey: "any" })
const made = await embedMany({ model: provider.embedding("qwen3_embedding"), values: documents })
print(made.embeddings)
""",
    ),
    "OllamaEmbeddings": Program(
        ("@langchain/ollama", "@langchain/core"),
        "document",
        """
import { OllamaEmbeddings } from "@langchain/ollama"
print(await new OllamaEmbeddings({ model: "qwen3_embedding", baseUrl: url }).embedDocuments(documents))
""",
    ),
    "CohereEmbeddings": Program(
        ("@langchain/cohere", "@langchain/core", "cohere-ai"),
        "query",
        """
import { CohereEmbeddings } from "@langchain/cohere"
import { CohereClient } from "cohere-ai"
const client = new CohereClient({ token: "any", environment: url, baseUrl: url })
const model = new CohereEmbeddings({ model: "qwen3_embedding", client })
print(await Promise.all(documents.map(text => model.embedQuery(text))))
""",
    ),
    "CohereRerank": Program(
        ("@langchain/cohere", "@langchain/core", "cohere-ai"),
        "score",
        """
import { CohereRerank } from "@langchain/cohere"
import { CohereClient } from "cohere-ai"
const client = new CohereClient({ token: "any", environment: url, baseUrl: url })
const found = await new CohereRerank({ model: "qwen3_reranker", client, topN: 4 }).rerank(documents, query)
print(found.map(each => [each.index, each.relevanceScore]))
""",
    ),
    "OpenAIEmbeddings": Program(
        ("@langchain/openai", "@langchain/core"),
        "document",
        """
import { OpenAIEmbeddings } from "@langchain/openai"
const model = new OpenAIEmbeddings({ model: "qwen3_embedding", apiKey: "any", configuration: { baseURL: `${url}/v1` } })
print(await model.embedDocuments(documents))
""",
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_library_for_node(gateway: Gateway, direct: Client, report: Report, name: str) -> None:
    program = PROGRAMS[name]
    made = np.array(run_node(program, gateway.url))
    if program.gives == "score":
        expected = np.array([[hit.index, hit.score] for hit in direct.rank(QUERY, DOCUMENTS)])
        np.testing.assert_allclose(made, expected, rtol=1e-6)
    else:
        expected = direct.encode_query(DOCUMENTS) if program.gives == "query" else direct.encode_document(DOCUMENTS)
        np.testing.assert_allclose(made, expected, atol=1e-7)
    library = program.requirements[0]
    report.add(f"{library} for Node", node_version(library, *program.requirements), name)
