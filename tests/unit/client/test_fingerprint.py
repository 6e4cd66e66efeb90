"""The fingerprint: what it is made of, and who refuses a model that has another one."""

import hashlib
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from qwen3_client import Client, ClientOptions, ContractMismatchError, InvalidInputError, ModelInfo, RerankerInfo
from qwen3_client.fingerprint import PARAMETERS, fingerprint_of
from qwen3_client.transports import FakeTransport

STATED = {
    "model_sha256": "a" * 64,
    "tokenizer_sha256": "b" * 64,
    "precision": "int8",
    "eos_token_id": "256",
    "default_instruction": "Suche Passendes für die Frage",
}


def with_parameters(config: dict[str, Any], **values: str) -> dict[str, Any]:
    added = {key: {"string_value": value} for key, value in values.items()}
    return {**config, "parameters": {**config["parameters"], **added}}


def test_it_follows_the_formula_of_the_contract() -> None:
    text = (
        '{"default_instruction":"Suche Passendes für die Frage","eos_token_id":"256","model_sha256":"' + "a" * 64 + '",'
        '"precision":"int8","tokenizer_sha256":"' + "b" * 64 + '","version":1}'
    )
    assert json.loads(text) == {**STATED, "version": 1}
    assert fingerprint_of(STATED) == hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_each_part_changes_it(parameter: str) -> None:
    changed = {**STATED, parameter: "c" * 64}
    assert fingerprint_of(changed) not in (None, fingerprint_of(STATED))


@pytest.mark.parametrize("parameter", ["source", "max_tokens", "tokenizer", "device", "fingerprint"])
def test_nothing_else_does(parameter: str) -> None:
    assert fingerprint_of({**STATED, parameter: "other"}) == fingerprint_of(STATED)


def test_an_older_export_has_none_and_is_refused_where_one_is_expected(config: dict[str, Any]) -> None:
    info = ModelInfo.from_config(config)
    assert info.fingerprint is None
    info.check_fingerprint(None)
    with pytest.raises(ContractMismatchError, match=r"has no fingerprint, but 0{16} is expected.*export it again"):
        info.check_fingerprint("0" * 16)


def test_an_edited_instruction_changes_it_and_is_reported(
    config: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    before = ModelInfo.from_config(with_parameters(config, model_sha256="a" * 64)).fingerprint
    assert before
    exported = with_parameters(config, model_sha256="a" * 64, fingerprint=before)
    with caplog.at_level(logging.WARNING, "qwen3_client"):
        assert ModelInfo.from_config(exported).fingerprint == before
        assert not caplog.messages
        edited = ModelInfo.from_config(with_parameters(exported, default_instruction="Find another"))
    assert edited.fingerprint not in (None, before)
    assert [str(edited.fingerprint) in message and before in message for message in caplog.messages] == [True]


def test_a_stated_fingerprint_alone_is_not_believed(config: dict[str, Any]) -> None:
    assert ModelInfo.from_config(with_parameters(config, fingerprint="0" * 16)).fingerprint is None


def test_a_reranker_has_one_too(reranker_config: dict[str, Any]) -> None:
    info = RerankerInfo.from_config(with_parameters(reranker_config, model_sha256="a" * 64))
    assert info.fingerprint is not None
    with pytest.raises(ContractMismatchError, match=f"{info.fingerprint}, but 0000000000000000 .*reranker="):
        info.check_fingerprint("0" * 16)


@pytest.mark.parametrize(
    ("options", "use"),
    [
        (ClientOptions(expected_fingerprint="0" * 16), lambda client: client.encode_document("text")),
        (ClientOptions(expected_reranker_fingerprint="0" * 16), lambda client: client.rank("query", ["text"])),
    ],
)
def test_a_client_refuses_another_model_before_it_sends_anything(
    options: ClientOptions, use: Callable[[Client], Any]
) -> None:
    transport = FakeTransport(dimensions=64)
    with (
        Client.from_options(options, transport=transport) as client,
        pytest.raises(ContractMismatchError, match="but 0000000000000000 is expected"),
    ):
        use(client)
    assert not transport.requests


def test_a_client_works_with_the_models_that_it_expects() -> None:
    transport = FakeTransport(dimensions=64)
    with Client(transport=transport) as client:
        embedding, reranker = client.info().fingerprint, client.reranker_info().fingerprint
    assert None not in (embedding, reranker)
    assert embedding != reranker
    with Client(transport=transport, expected_fingerprint=embedding, expected_reranker_fingerprint=reranker) as client:
        assert client.encode_document("text").shape == (64,)
        assert len(client.rank("query", ["text"])) == 1


@pytest.mark.parametrize("wrong", ["", "0" * 15, "G" * 16, 7])
def test_what_is_no_fingerprint_is_refused_at_once(wrong: Any) -> None:  # noqa: ANN401
    with pytest.raises(InvalidInputError, match="16 hexadecimal digits"):
        ClientOptions(expected_fingerprint=wrong)
