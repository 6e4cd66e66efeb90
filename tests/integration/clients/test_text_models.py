"""Other people's clients at their newest versions send texts to the text models of `serve --text`."""

from collections.abc import Iterator

import numpy as np
import pytest
from qwen3_client import Client
from qwen3_export import export
from qwen3_serve import Triton
from qwen3_serve.triton.text_tensors import TextTensors
from support.clients import DOCUMENTS, Program, Report, python_version, run_python
from support.qwen_tokenizer import build_qwen_tokenizer
from support.random_checkpoints import make_random_checkpoint

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1800)]

LITELLM = ("litellm",)
TRITON = ("tritonclient[http]", "numpy")

PROGRAMS = {
    "embedding, triton": Program(
        LITELLM,
        "document",
        """
import litellm
answer = litellm.embedding(
    model="triton/qwen3_embedding_text", input=documents, api_base=f"{url}/v2/models/qwen3_embedding_text/infer"
)
print(json.dumps([each["embedding"] for each in answer.data]))
""",
    ),
    "embedding, triton, queries": Program(
        LITELLM,
        "query",
        """
import litellm
answer = litellm.embedding(
    model="triton/queries", input=documents, api_base=f"{url}/v2/models/qwen3_embedding_text_query/infer"
)
print(json.dumps([each["embedding"] for each in answer.data]))
""",
    ),
    "InferenceRESTClient, queries": Program(
        ("kserve",),
        "query",
        """
import asyncio
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
texts = InferInput(name="input_text", shape=[len(documents)], datatype="BYTES", data=documents)
request = InferRequest(infer_inputs=[texts], model_name="qwen3_embedding_text", parameters={"kind": "query"})
client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=60))
answer = asyncio.run(client.infer(url, request, model_name="qwen3_embedding_text"))
print(json.dumps(answer.outputs[0].as_numpy().tolist()))
""",
    ),
    # LlamaIndex's NvidiaTritonEmbedding calls the two clients of this package in this way.
    "InferenceServerClient, http": Program(
        TRITON,
        "document",
        """
import numpy as np
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
texts = InferInput("input_text", [len(documents)], "BYTES")
texts.set_data_from_numpy(np.array(documents, dtype=np.object_))
client = InferenceServerClient(url.removeprefix("http://"))
answer = client.infer("qwen3_embedding_text", [texts], outputs=[InferRequestedOutput("embedding")])
print(json.dumps(answer.as_numpy("embedding").tolist()))
""",
    ),
    "InferenceServerClient, http, awaited": Program(
        TRITON,
        "query",
        """
import asyncio
import numpy as np
from tritonclient.http.aio import InferenceServerClient, InferInput, InferRequestedOutput
texts = InferInput("input_text", [len(documents)], "BYTES")
texts.set_data_from_numpy(np.array(documents, dtype=np.object_))
async def ask():
    async with InferenceServerClient(url.removeprefix("http://")) as client:
        return await client.infer("qwen3_embedding_text_query", [texts], outputs=[InferRequestedOutput("embedding")])
print(json.dumps(asyncio.run(ask()).as_numpy("embedding").tolist()))
""",
    ),
}


@pytest.fixture(scope="module")
def text_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    folder = tmp_path_factory.mktemp("genuine-text")
    checkpoint = make_random_checkpoint(folder / "checkpoint", vocab_size=151669)
    build_qwen_tokenizer().save(str(checkpoint / "tokenizer.json"))
    export(str(checkpoint), repository=folder / "repository", kind="embedding")
    with Triton(folder / "repository", threads=1, text=TextTensors()) as server:
        yield server


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_library_sends_texts_to_triton(text_triton: Triton, report: Report, name: str) -> None:
    program = PROGRAMS[name]
    made = np.array(run_python(program, text_triton.http_url), np.float32)
    with Client(text_triton.grpc_url) as client:
        expected = client.encode_query(DOCUMENTS) if program.gives == "query" else client.encode_document(DOCUMENTS)
    np.testing.assert_array_equal(made, expected)
    library = program.requirements[0].partition("[")[0]
    report.add(library, python_version(library, *program.requirements), name)
