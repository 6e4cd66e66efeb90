"""Which of a server's models a client uses: the one that was named, or the only one of its kind."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from qwen3_client import Client, ContractMismatchError, InvalidInputError, ServerUnavailableError

if TYPE_CHECKING:
    from unit.client.conftest import SlowTransport

MakeClient = Callable[..., Client]
FOREIGN: dict[str, Any] = {
    "name": "bge",
    "input": [{"name": name, "data_type": "TYPE_INT64", "dims": [-1]} for name in ("input_ids", "attention_mask")],
    "output": [{"name": "embedding", "data_type": "TYPE_FP32", "dims": [768]}],
}


def add(transport: SlowTransport, config: dict[str, Any], *, name: str) -> None:
    transport.configs[name] = {**copy.deepcopy(config), "name": name}


def test_the_only_model_of_each_kind_needs_no_name(make_client: MakeClient, transport: SlowTransport) -> None:
    add(transport, FOREIGN, name="bge")
    client = make_client()
    assert (client.info().name, client.reranker_info().name) == ("qwen3_embedding", "qwen3_reranker")
    client.encode_document("a")
    client.score([("a", "b")])
    assert transport.models_asked == ["qwen3_embedding", "qwen3_reranker"]


def test_any_name_will_do(make_client: MakeClient, transport: SlowTransport) -> None:
    for config in list(transport.configs.values()):
        add(transport, config, name=f"{config['name']}_4b")
        del transport.configs[config["name"]]
    client = make_client()
    client.encode_document("a")
    client.rank("a", ["b"])
    assert transport.models_asked == ["qwen3_embedding_4b", "qwen3_reranker_4b"]


def test_of_two_models_one_must_be_named(
    make_client: MakeClient, transport: SlowTransport, config: dict[str, Any], reranker_config: dict[str, Any]
) -> None:
    add(transport, config, name="qwen3_embedding_4b")
    add(transport, reranker_config, name="qwen3_reranker_4b")
    client = make_client()
    said = r"more than one embedding model: qwen3_embedding, qwen3_embedding_4b; name one with model="
    with pytest.raises(ContractMismatchError, match=said):
        client.encode_document("a")
    said = r"more than one reranker: qwen3_reranker, qwen3_reranker_4b; name one with reranker="
    with pytest.raises(ContractMismatchError, match=said):
        client.rank("a", ["b"])
    with Client(model="qwen3_embedding_4b", reranker="qwen3_reranker_4b") as client:
        client.encode_document("a")
        client.rank("a", ["b"])
    assert transport.models_asked == ["qwen3_embedding_4b", "qwen3_reranker_4b"]


def test_a_kind_that_is_not_needed_need_not_be_there(make_client: MakeClient, transport: SlowTransport) -> None:
    del transport.configs["qwen3_embedding"]
    client = make_client()
    client.rank("a", ["b"])
    with pytest.raises(
        ContractMismatchError,
        match=r"no embedding model that is ready, only qwen3_reranker; .*`qwen3-triton export Qwen/Qwen3-Embedding",
    ):
        client.encode_document("a")


def test_without_any_model_it_says_how_to_export_one(make_client: MakeClient, transport: SlowTransport) -> None:
    transport.configs.clear()
    with pytest.raises(
        ContractMismatchError,
        match=r"no reranker that is ready, and no other model; .*`qwen3-triton export Qwen/Qwen3-Reranker-0.6B`",
    ):
        make_client().score([("a", "b")])


def test_a_named_model_is_used_as_it_is(transport: SlowTransport) -> None:
    with Client(model="qwen3_embedding") as client:
        client.encode_document("a")
    assert (transport.index_calls, transport.config_calls) == (0, 1)
    with (
        Client(model="qwen3_reranker") as client,
        pytest.raises(
            ContractMismatchError, match="'qwen3_reranker' does not work with this client as its embedding model"
        ),
    ):
        client.encode_document("a")
    for kind, noun, there in (
        ("model", "embedding model", "qwen3_embedding"),
        ("reranker", "reranker", "qwen3_reranker"),
    ):
        said = f"no model 'nonesuch'; its {noun}s are: {there}; name one of them with {kind}=$"
        client = Client(model="nonesuch") if kind == "model" else Client(reranker="nonesuch")
        with client, pytest.raises(ContractMismatchError, match=said):
            client.encode_document("a") if kind == "model" else client.rank("a", ["b"])
    del transport.configs["qwen3_reranker"]
    said = "no model 'nonesuch'; nor any reranker that is ready, only qwen3_embedding$"
    with Client(reranker="nonesuch") as client, pytest.raises(ContractMismatchError, match=said):
        client.rank("a", ["b"])


def test_the_choice_is_made_once_by_all_threads(make_client: MakeClient, transport: SlowTransport) -> None:
    client = make_client()
    barrier = threading.Barrier(8)

    def ask(_: int) -> str:
        barrier.wait(timeout=30)
        return client.reranker_info().name

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {"qwen3_reranker"}
    assert (transport.index_calls, transport.config_calls) == (1, 2)


def test_a_failed_choice_fails_all_who_waited_for_it(make_client: MakeClient, transport: SlowTransport) -> None:
    client = make_client()
    barrier, asked = threading.Barrier(8), 0

    async def models(*, timeout_s: float) -> list[str]:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.5)
        raise ServerUnavailableError(f"no server within {timeout_s} s")

    transport.models = models  # type: ignore[method-assign]

    def ask(_: int) -> str:
        barrier.wait(timeout=30)
        with pytest.raises(ServerUnavailableError) as caught:
            client.info()
        return str(caught.value)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1
    assert asked < 8  # else each would have waited for those before it


def test_a_choice_that_failed_is_made_again(make_client: MakeClient, transport: SlowTransport) -> None:
    client = make_client()
    config = transport.configs.pop("qwen3_reranker")
    with pytest.raises(ContractMismatchError, match="no reranker"):
        client.rank("a", ["b"])
    transport.configs["qwen3_reranker"] = config
    assert len(client.rank("a", ["b"])) == 1


def test_a_model_that_is_unloaded_meanwhile_is_not_there(
    make_client: MakeClient, transport: SlowTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def models(*, timeout_s: float) -> list[str]:  # noqa: ARG001
        return ["gone", "qwen3_embedding"]

    monkeypatch.setattr(transport, "models", models)
    assert make_client().info().name == "qwen3_embedding"


def test_ready_means_the_models_that_were_named_or_used_or_else_any(
    make_client: MakeClient, transport: SlowTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_ready(*, model: str | None = None, reranker: str | None = None) -> bool:
        with Client(model=model, reranker=reranker) as client:
            ready = client.is_ready()
        transport.is_closed = False
        return ready

    used = make_client()
    used.rank("a", ["b"])
    del transport.configs["qwen3_reranker"]
    assert is_ready()
    assert is_ready(model="qwen3_embedding")
    assert not is_ready(reranker="qwen3_reranker")
    assert not is_ready(model="qwen3_embedding", reranker="qwen3_reranker")
    assert not used.is_ready()
    transport.configs = {"bge": FOREIGN}
    assert not is_ready()

    async def gone(*, timeout_s: float) -> list[str]:
        raise ServerUnavailableError(f"no server within {timeout_s} s")

    monkeypatch.setattr(transport, "models", gone)
    assert not is_ready()


def test_each_kind_has_a_tokenizer_of_its_own(transport: SlowTransport) -> None:
    with Client(tokenizer="/nowhere") as client:
        assert len(client.rank("a", ["b"])) == 1
        with pytest.raises(Exception, match=r"pass tokenizer=<folder"):
            client.encode_document("a")
    transport.is_closed = False
    with Client(reranker_tokenizer="/nowhere") as client:
        client.encode_document("a")
        with pytest.raises(Exception, match=r"pass reranker_tokenizer=<folder"):
            client.rank("a", ["b"])


@pytest.mark.parametrize("option", ["model", "reranker"])
def test_a_name_is_a_text(option: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^{option} must not be empty"):
        Client(**{option: ""})  # type: ignore[arg-type]
