"""Token ids of another vocabulary, as the real library sends them by default, are refused and explained."""

import pytest
from support.clients import Program, Report, python_version, run_python
from support.gateway import Gateway

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1800)]

PROGRAM = Program(
    ("langchain-openai", "litellm"),
    "document",
    """
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
""",
)


def test_ids_of_another_vocabulary_are_refused(gateway: Gateway, report: Report) -> None:
    message = str(run_python(PROGRAM, gateway.url))
    assert "do not end in 151643" in message
    assert "check_embedding_ctx_length=False" in message
    library = PROGRAM.requirements[0]
    report.add(
        library, python_version(library, *PROGRAM.requirements), "OpenAI's token ids are refused, and it says why"
    )
