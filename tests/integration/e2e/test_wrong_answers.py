"""A model that stops answering as its config says, in a real Triton: what the client says, and the gateway."""

from collections.abc import Iterator

import httpx
import pytest
from qwen3_client import Client, ContractMismatchError
from qwen3_export import export
from qwen3_serve import Triton
from qwen3_serve.gateway import Settings
from support.gateway import running
from support.hosts import WRONG_ON_DEMAND, replace_host

EMPTY, SHORT, DEEP, NO_ROW, OTHER_TYPE = range(10, 15)
END = 256  # the end token of `tiny`, without which the gateway refuses token ids


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    folder = tmp_path_factory.mktemp("wrong")
    replace_host(export("tiny", repository=folder).directory, WRONG_ON_DEMAND)
    with Triton(folder) as triton:
        yield triton


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize("first", [EMPTY, SHORT, DEEP, NO_ROW, OTHER_TYPE])
def test_the_client_names_model_and_server(wrong: Triton, protocol: str, first: int) -> None:
    url = wrong.grpc_url if protocol == "grpc" else wrong.http_url
    with Client(url) as client:
        assert client.encode_tokens([[1, 2]]).shape == (1, 64)
        with pytest.raises(ContractMismatchError) as raised:
            client.encode_tokens([[first, 2]])
    assert "'qwen3_embedding'" in str(raised.value)
    assert url.rpartition("/")[2] in str(raised.value)
    assert raised.value.index == 0


@pytest.mark.parametrize("first", [EMPTY, SHORT, DEEP, NO_ROW, OTHER_TYPE])
def test_the_gateway_says_that_there_is_no_model_to_use(wrong: Triton, first: int) -> None:
    with (
        running(Settings(triton=wrong.grpc_url)) as gateway,
        httpx.Client(base_url=gateway.url, trust_env=False, timeout=60) as http,
    ):
        answer = http.post("/v1/embeddings", json={"input": [[first, END]]})
        assert answer.status_code == 503
        assert "the gateway's log gives the reason" in answer.text
