"""Models that state what goes before their queries and documents."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from qwen3_client import AsyncClient, Client, ContractMismatchError, InvalidInputError, ModelInfo
from qwen3_client.cli.main import main
from qwen3_client.integrations.sentence_transformers import SentenceTransformer
from qwen3_client.transports import FakeTransport
from tokenizers import Tokenizer


def with_prompts(config: dict[str, Any], **prompts: str | None) -> dict[str, Any]:
    """A config with other parameters; None leaves one out."""
    parameters = config["parameters"] | {key: {"string_value": value} for key, value in prompts.items()}
    return {
        **config,
        "parameters": {key: value for key, value in parameters.items() if value != {"string_value": None}},
    }


def prompted(config: dict[str, Any]) -> dict[str, Any]:
    return with_prompts(config, default_instruction=None, query_prompt="Query: ", document_prompt="Document: ")


def read_texts(transport: FakeTransport, folder: Path) -> list[str]:
    """What the model has read, without the end token, in the order of the requests."""
    decoder = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return [decoder.decode(ids.tolist()) for request in transport.requests for ids in request.input_ids]


def test_the_prompts_go_before_the_texts(config: dict[str, Any], tokenizer_folder: Path) -> None:
    transport = FakeTransport(configs=[prompted(config)])
    with Client(transport=transport) as client:
        client.encode_query("planets")
        client.encode_document("Mars")
        list(client.encode_stream(["moons"], kind="query"))
        list(client.encode_stream(["Io"]))
        ids = client.tokenize(["stars"], kind="query")
        info = client.info()
    assert read_texts(transport, tokenizer_folder) == [
        "Query: planets",
        "Document: Mars",
        "Query: moons",
        "Document: Io",
    ]
    assert bytes(Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json")).decode(ids[0].tolist()), "utf-8") == (
        b"Query: stars"
    )
    assert (info.query_prompt, info.document_prompt, info.default_instruction) == ("Query: ", "Document: ", "")


def test_an_async_client_does_the_same(config: dict[str, Any], tokenizer_folder: Path) -> None:
    transport = FakeTransport(configs=[prompted(config)])

    async def embed() -> None:
        async with AsyncClient(transport=transport) as client:
            await client.encode_query("planets")
            assert [row async for row in client.encode_stream(["Io"])]

    asyncio.run(embed())
    assert read_texts(transport, tokenizer_folder) == ["Query: planets", "Document: Io"]


def test_an_instruction_is_refused(config: dict[str, Any]) -> None:
    transport = FakeTransport(configs=[prompted(config)])
    said = "queries of the model 'qwen3_embedding' begin with 'Query: ', so it takes no instruction: leave instruction="
    with Client(transport=transport) as client:
        with pytest.raises(InvalidInputError, match=said):
            client.encode_query("planets", instruction="Find")
        with pytest.raises(InvalidInputError, match=said):
            client.encode_stream(["planets"], kind="query", instruction="Find")
        with pytest.raises(InvalidInputError, match="documents take no instruction"):
            client.tokenize(["Mars"], instruction="Find")
    bare = FakeTransport(configs=[with_prompts(config, default_instruction=None, query_prompt="")])
    with Client(transport=bare) as client, pytest.raises(InvalidInputError, match="have no prompt"):
        client.encode_query("planets", instruction="Find")
    assert transport.requests == bare.requests == []


def test_a_document_prompt_alone_leaves_queries_their_task(config: dict[str, Any], tokenizer_folder: Path) -> None:
    transport = FakeTransport(configs=[with_prompts(config, document_prompt="- ")])
    with Client(transport=transport) as client:
        client.encode_query("planets")
        client.encode_query("planets", instruction="Sort")
        client.encode_document("Mars")
    assert read_texts(transport, tokenizer_folder) == [
        "Instruct: Find it\nQuery:planets",
        "Instruct: Sort\nQuery:planets",
        "- Mars",
    ]


def test_an_empty_query_prompt_is_one(config: dict[str, Any], tokenizer_folder: Path) -> None:
    # Over gRPC, JSON leaves out a string that is empty.
    stated = with_prompts(config, default_instruction=None)
    stated["parameters"]["query_prompt"] = {}
    transport = FakeTransport(configs=[stated])
    with Client(transport=transport) as client:
        client.encode_query("planets")
    assert read_texts(transport, tokenizer_folder) == ["planets"]


def test_a_config_without_prompts_needs_its_instruction(config: dict[str, Any]) -> None:
    with pytest.raises(ContractMismatchError, match="no parameter 'default_instruction'"):
        ModelInfo.from_config(with_prompts(config, default_instruction=None, document_prompt="- "))


def test_a_prompt_counts_for_the_longest_text(config: dict[str, Any], tokenizer_folder: Path) -> None:
    transport = FakeTransport(configs=[prompted(config)])
    with Client(transport=transport) as client:
        client.encode_document("x" * 200)
    (text,) = read_texts(transport, tokenizer_folder)
    assert text == "Document: " + "x" * (127 - len("Document: "))


def test_sentence_transformers_prompts_are_the_model_s(config: dict[str, Any], tokenizer_folder: Path) -> None:
    transport = FakeTransport(configs=[prompted(config)])
    with Client(transport=transport) as client:
        model = SentenceTransformer(client=client, prompts={"own": "Own: "})
        assert model.prompts == {"query": "Query: ", "document": "Document: ", "own": "Own: "}
        model.encode_query(["planets"])
        model.encode_document(["Mars"])
        model.encode(["Io"])
        model.encode(["Io"], prompt_name="own")
    assert read_texts(transport, tokenizer_folder) == ["Query: planets", "Document: Mars", "Io", "Own: Io"]


def test_a_corpus_says_which_prompt_its_vectors_have(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    transport = FakeTransport(configs=[prompted(config)])
    monkeypatch.setattr("qwen3_client.session.connect", lambda options: transport)  # noqa: ARG005
    monkeypatch.chdir(tmp_path)
    Path("corpus.txt").write_text("one\ntwo\n", "utf-8")
    for kind, prompt in (([], "Document: "), (["--query"], "Query: ")):
        command = ["embed", "corpus.txt", "--text-column", "text", *kind, "--output", f"v{len(kind)}.parquet"]
        assert main(command) == 0
        about = json.loads(parquet.read_schema(f"v{len(kind)}.parquet").metadata[b"qwen3_triton"])
        assert (about["prompt"], about["instruction"]) == (prompt, None)
    capsys.readouterr()
    assert main([*command, "--instruction", "Find"]) != 0
    assert "takes no instruction" in capsys.readouterr().err
