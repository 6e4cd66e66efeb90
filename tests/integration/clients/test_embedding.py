"""Other people's clients at their newest versions, unchanged, each in an environment of its own.

Each program is what a user of that library writes, with nothing but the gateway's address put in. It prints JSON, which
is compared with the answers of our own client. The model has random weights and the genuine vocabulary: ids of another
vocabulary are valid there and mean other texts, as they are with the published model.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from qwen3_client import Client
from qwen3_export import export
from qwen3_serve import Triton
from qwen3_serve.gateway import Settings
from support.environments import clean_environment, make_environment
from support.gateway import Gateway, running
from support.qwen_tokenizer import build_qwen_tokenizer
from support.random_checkpoints import make_random_checkpoint

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1800)]

QUERY = "Which planet is known as the Red Planet?"
DOCUMENTS = [
    "Venus is the hottest planet.",
    "Mars is often called the Red Planet.",
    "Юпитер — планета 🪐",
    "日本語のテキスト",
]

START = """
import json, os, sys
url, query, documents = json.loads(sys.argv[1])
os.environ["NO_PROXY"] = "*"
"""

# What each library has to embed `documents` as; the program prints the vectors.
EMBEDDING = {
    "langchain-openai": (
        "document",
        ("langchain-openai",),
        """
from langchain_openai import OpenAIEmbeddings
model = OpenAIEmbeddings(base_url=f"{url}/v1", api_key="any", model="qwen3_embedding", check_embedding_ctx_length=False)
print(json.dumps(model.embed_documents(documents)))
""",
    ),
    "langchain-openai, Azure": (
        "document",
        ("langchain-openai",),
        """
from langchain_openai import AzureOpenAIEmbeddings
model = AzureOpenAIEmbeddings(
    azure_endpoint=url, api_key="any", api_version="2024-10-21", model="qwen3_embedding",
    check_embedding_ctx_length=False,
)
print(json.dumps(model.embed_documents(documents)))
""",
    ),
    "langchain-cohere": (
        "document",
        ("langchain-cohere",),
        """
from langchain_cohere import CohereEmbeddings
model = CohereEmbeddings(base_url=url, cohere_api_key="any", model="qwen3_embedding")
print(json.dumps(model.embed_documents(documents)))
""",
    ),
    "langchain-cohere, queries": (
        "query",
        ("langchain-cohere",),
        """
from langchain_cohere import CohereEmbeddings
model = CohereEmbeddings(base_url=url, cohere_api_key="any", model="qwen3_embedding")
print(json.dumps([model.embed_query(text) for text in documents]))
""",
    ),
    "langchain-nvidia-ai-endpoints, queries": (
        "query",
        ("langchain-nvidia-ai-endpoints",),
        """
from langchain_nvidia_ai_endpoints import NVIDIAEmbeddings
model = NVIDIAEmbeddings(base_url=f"{url}/v1", model="qwen3_embedding", api_key="any")
print(json.dumps([model.embed_query(text) for text in documents]))
""",
    ),
    "langchain-ollama": (
        "document",
        ("langchain-ollama",),
        """
from langchain_ollama import OllamaEmbeddings
model = OllamaEmbeddings(base_url=url, model="qwen3_embedding", num_ctx=2048)
print(json.dumps(model.embed_documents(documents)))
""",
    ),
    "infinity_client": (
        "document",
        ("infinity_client",),
        """
from infinity_client import Client
from infinity_client.api.default import embeddings
from infinity_client.models import OpenAIEmbeddingInputText
body = OpenAIEmbeddingInputText(input_=documents, model="qwen3_embedding")
answer = embeddings.sync(client=Client(base_url=url), body=body)
print(json.dumps([item.embedding for item in answer.data]))
""",
    ),
    "voyageai, queries": (
        "query",
        ("voyageai",),
        """
import voyageai
client = voyageai.Client(api_key="any", base_url=f"{url}/v1")
print(json.dumps(client.embed(documents, model="qwen3_embedding", input_type="query", output_dimension=64).embeddings))
""",
    ),
    "haystack, TEI": (
        "document",
        ("haystack-ai", "huggingface-api-haystack"),
        """
from haystack import Document
from haystack.utils import Secret
from haystack_integrations.components.embedders.huggingface_api import HuggingFaceAPIDocumentEmbedder
model = HuggingFaceAPIDocumentEmbedder(
    api_type="text_embeddings_inference", api_params={"url": url}, token=Secret.from_token("any")
)
made = model.run([Document(content=text) for text in documents])["documents"]
print(json.dumps([each.embedding for each in made]))
""",
    ),
}

# The program prints index and score of each document, in its library's order. "logit" or "score" is what it gets.
RERANKING = {
    "langchain-nvidia-ai-endpoints": (
        "logit",
        ("langchain-nvidia-ai-endpoints",),
        """
from langchain_core.documents import Document
from langchain_nvidia_ai_endpoints import NVIDIARerank
model = NVIDIARerank(base_url=f"{url}/v1", model="qwen3_reranker", api_key="any", top_n=4)
found = model.compress_documents(query=query, documents=[Document(page_content=text) for text in documents])
print(json.dumps([[documents.index(each.page_content), each.metadata["relevance_score"]] for each in found]))
""",
    ),
    "litellm, NIM": (
        "logit",
        ("litellm",),
        """
import litellm
found = litellm.rerank(
    model="nvidia_nim/qwen/qwen3-reranker", api_base=url, api_key="any", query=query, documents=documents, top_n=4
)
print(json.dumps([[each["index"], each["relevance_score"]] for each in found.results]))
""",
    ),
    "litellm, vLLM": (
        "score",
        ("litellm",),
        """
import litellm
found = litellm.rerank(
    model="hosted_vllm/qwen3_reranker", api_base=url, api_key="any", query=query, documents=documents, top_n=4
)
print(json.dumps([[each["index"], each["relevance_score"]] for each in found.results]))
""",
    ),
    "litellm, Infinity": (
        "score",
        ("litellm",),
        """
import litellm
found = litellm.rerank(
    model="infinity/qwen3_reranker", api_base=url, api_key="any", query=query, documents=documents, top_n=4,
    return_documents=False,
)
print(json.dumps([[each["index"], each["relevance_score"]] for each in found.results]))
""",
    ),
    "infinity_client": (
        "score",
        ("infinity_client",),
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
    "langchain-cohere": (
        "score",
        ("langchain-cohere",),
        """
from langchain_cohere import CohereRerank
model = CohereRerank(base_url=url, cohere_api_key="any", model="qwen3_reranker", top_n=4)
print(json.dumps([[each["index"], each["relevance_score"]] for each in model.rerank(documents, query)]))
""",
    ),
}


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Client]]:
    """A gateway to models with the genuine vocabulary, and our own client of the same Triton."""
    folder = tmp_path_factory.mktemp("genuine")
    checkpoint = make_random_checkpoint(folder / "checkpoint", vocab_size=151669)
    build_qwen_tokenizer().save(str(checkpoint / "tokenizer.json"))
    export(str(checkpoint), repository=folder / "repository", kind="embedding")
    export("tiny", repository=folder / "repository", kind="reranker")
    with (
        Triton(folder / "repository", threads=1) as triton,
        Client(triton.grpc_url) as client,
        running(Settings(triton=triton.grpc_url, reranker_aliases=("qwen/qwen3-reranker",))) as gateway,
    ):
        yield gateway, client


@pytest.fixture(scope="module")
def environments() -> Iterator[dict[tuple[str, ...], Path]]:
    """The interpreters of the environments that are made already, by their requirements."""
    made: dict[tuple[str, ...], Path] = {}
    yield made
    for python in made.values():
        shutil.rmtree(python.parents[1])


def run(
    environments: dict[tuple[str, ...], Path], requirements: tuple[str, ...], program: str, url: str
) -> subprocess.CompletedProcess[str]:
    """Run a program in an environment with these requirements."""
    if requirements not in environments:
        environments[requirements] = make_environment(Path(tempfile.mkdtemp(prefix="client-")) / "venv", *requirements)
    return subprocess.run(
        [environments[requirements], "-c", START + program, json.dumps([url, QUERY, DOCUMENTS])],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("name", EMBEDDING)
def test_a_library_embeds(
    genuine: tuple[Gateway, Client], environments: dict[tuple[str, ...], Path], name: str
) -> None:
    gateway, direct = genuine
    kind, requirements, program = EMBEDDING[name]
    done = run(environments, requirements, program, gateway.url)
    assert done.returncode == 0, done.stderr[-4000:]
    expected = direct.encode_query(DOCUMENTS) if kind == "query" else direct.encode_document(DOCUMENTS)
    np.testing.assert_allclose(np.array(json.loads(done.stdout.splitlines()[-1])), expected, atol=1e-7)


@pytest.mark.parametrize("name", RERANKING)
def test_a_library_reranks(
    genuine: tuple[Gateway, Client], environments: dict[tuple[str, ...], Path], name: str
) -> None:
    gateway, direct = genuine
    what, requirements, program = RERANKING[name]
    done = run(environments, requirements, program, gateway.url)
    assert done.returncode == 0, done.stderr[-4000:]
    expected = [[hit.index, hit.logit if what == "logit" else hit.score] for hit in direct.rank(QUERY, DOCUMENTS)]
    np.testing.assert_allclose(json.loads(done.stdout.splitlines()[-1]), expected, rtol=1e-6)


def test_ids_of_another_vocabulary_are_refused(
    genuine: tuple[Gateway, Client], environments: dict[tuple[str, ...], Path]
) -> None:
    """LangChain's default is to tokenize with OpenAI's cl100k, whose ids are valid here and mean other texts."""
    program = """
import importlib.util, pathlib
# litellm carries the file that tiktoken would download.
spec = importlib.util.find_spec("litellm")
os.environ["TIKTOKEN_CACHE_DIR"] = str(pathlib.Path(spec.origin).parent / "litellm_core_utils" / "tokenizers")
from langchain_openai import OpenAIEmbeddings
import openai
model = OpenAIEmbeddings(base_url=f"{url}/v1", api_key="any", model="qwen3_embedding", max_retries=0)
try:
    model.embed_documents(documents)
except openai.BadRequestError as error:
    print(json.dumps(str(error)))
"""
    done = run(environments, ("langchain-openai", "litellm"), program, genuine[0].url)
    assert done.returncode == 0, done.stderr[-4000:]
    message = json.loads(done.stdout.splitlines()[-1])
    assert "do not end in 151643" in message
    assert "check_embedding_ctx_length=False" in message


JAVA = """
import java.io.ByteArrayInputStream;
import java.net.URI;
import java.net.http.*;
import java.nio.charset.StandardCharsets;

public class Ask {
    public static void main(String[] given) throws Exception {
        var client = HttpClient.newHttpClient();  // offers HTTP/2 with every request
        for (int i = 0; i < 3; i++) {
            var text = given[1].getBytes(StandardCharsets.UTF_8);
            var body = i < 2
                ? HttpRequest.BodyPublishers.ofByteArray(text)
                : HttpRequest.BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(text));  // chunked
            var request = HttpRequest.newBuilder(URI.create(given[0])).POST(body).build();
            var answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(answer.statusCode() + " " + answer.body());
        }
    }
}
"""


def test_javas_own_client(genuine: tuple[Gateway, Client], tmp_path: Path) -> None:
    assert shutil.which("java"), "a JDK of version 11 or later is needed (Debian: apt install default-jdk-headless)"
    (tmp_path / "Ask.java").write_text(JAVA)
    gateway, direct = genuine
    body = json.dumps({"input": DOCUMENTS})
    command = ["java", str(tmp_path / "Ask.java"), f"{gateway.url}/v1/embeddings", body]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    answers = done.stdout.splitlines()
    assert len(answers) == 3
    for answer in answers:
        assert answer.startswith("200 "), answer
        vectors = [item["embedding"] for item in json.loads(answer[4:])["data"]]
        np.testing.assert_array_equal(np.array(vectors, np.float32), direct.encode_document(DOCUMENTS))
