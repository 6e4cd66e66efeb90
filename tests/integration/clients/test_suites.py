"""Suites of tests that their authors ship for integrations: LangChain's, for our own integration and for theirs.

Each runs in an environment with the newest releases, with pytest, and tests a class that a few lines name.
"""

import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from qwen3_serve import Triton
from support.clients import ROOT, Report, python_version, python_with
from support.environments import clean_environment
from support.gateway import Gateway

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1800)]

# What is tested: its name, where it comes from, and the arguments that it is made with.
SUITES = {
    "Qwen3Embeddings": (
        ("langchain-tests", f"--editable={ROOT}[langchain]"),
        "from qwen3_client.integrations.langchain import Qwen3Embeddings",
        '{"server": os.environ["TRITON"]}',
    ),
    "OpenAIEmbeddings": (
        ("langchain-tests", "langchain-openai"),
        "from langchain_openai import OpenAIEmbeddings",
        '{"base_url": os.environ["GATEWAY"] + "/v1", "api_key": "any", "model": "qwen3_embedding",'
        ' "check_embedding_ctx_length": False}',
    ),
    "OllamaEmbeddings": (
        ("langchain-tests", "langchain-ollama"),
        "from langchain_ollama import OllamaEmbeddings",
        '{"base_url": os.environ["GATEWAY"], "model": "qwen3_embedding"}',
    ),
    "AzureOpenAIEmbeddings": (
        ("langchain-tests", "langchain-openai"),
        "from langchain_openai import AzureOpenAIEmbeddings",
        '{"azure_endpoint": os.environ["GATEWAY"], "api_key": "any", "api_version": "2024-10-21",'
        ' "model": "qwen3_embedding", "check_embedding_ctx_length": False}',
    ),
    "CohereEmbeddings": (
        ("langchain-tests", "langchain-cohere"),
        "from langchain_cohere import CohereEmbeddings",
        '{"base_url": os.environ["GATEWAY"], "cohere_api_key": "any", "model": "qwen3_embedding"}',
    ),
    "NVIDIAEmbeddings": (
        ("langchain-tests", "langchain-nvidia-ai-endpoints"),
        "from langchain_nvidia_ai_endpoints import NVIDIAEmbeddings",
        '{"base_url": os.environ["GATEWAY"] + "/v1", "api_key": "any", "model": "qwen3_embedding"}',
    ),
}
MODULE = """
import os
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests
{statement}

class Named:
    @property
    def embeddings_class(self):
        return {name}

    @property
    def embedding_model_params(self):
        return {parameters}

class TestIntegration(Named, EmbeddingsIntegrationTests):
    pass

class TestUnit(Named, EmbeddingsUnitTests):
    pass
"""


@pytest.mark.parametrize("name", SUITES)
def test_langchains_suite(gateway: Gateway, triton: Triton, report: Report, tmp_path: Path, name: str) -> None:
    requirements, statement, parameters = SUITES[name]
    python = python_with(*requirements)
    (tmp_path / "test_suite.py").write_text(MODULE.format(statement=statement, name=name, parameters=parameters))
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-o", "asyncio_mode=auto", "--junitxml=report.xml", "test_suite.py"],
        cwd=tmp_path,
        env=clean_environment() | {"GATEWAY": gateway.url, "TRITON": triton.grpc_url, "NO_PROXY": "*"},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=300,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]
    (suite,) = ET.parse(tmp_path / "report.xml").getroot().iter("testsuite")  # noqa: S314 - pytest wrote it
    passed = int(suite.attrib["tests"]) - int(suite.attrib["skipped"])
    assert passed > 0
    version = python_version("langchain-tests", *requirements)
    report.add("langchain-tests", version, f"{name}: {passed} of {suite.attrib['tests']} tests")
