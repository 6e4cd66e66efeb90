"""Requests made up from the OpenAPI document: none has the gateway fail, and each failure has its API's form."""

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st
from qwen3_serve.gateway import create_app
from support.gateway import Gateway, failure_text

POSITIVE, NEGATIVE = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
OPERATIONS = [
    (path, method, mode)
    for path, methods in create_app().openapi()["paths"].items()
    for method, operation in methods.items()
    # There is nothing to get wrong about a request without a body.
    for mode in ([POSITIVE, NEGATIVE] if "requestBody" in operation else [POSITIVE])
]


@pytest.fixture(scope="module")
def openapi(gateway: Gateway) -> schemathesis.schemas.BaseSchema:
    return schemathesis.openapi.from_url(f"{gateway.url}/openapi.json")


@pytest.mark.parametrize(("path", "method", "mode"), OPERATIONS)
def test_no_request_makes_the_gateway_fail(
    openapi: schemathesis.schemas.BaseSchema, path: str, method: str, mode: schemathesis.GenerationMode
) -> None:
    operation = openapi[path][method]

    @hypothesis.settings(
        max_examples=15,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(st.data())
    def check(data: st.DataObject) -> None:
        response = data.draw(operation.as_strategy(generation_mode=mode)).call()
        assert response.status_code < 500
        if response.status_code >= 400:
            failure_text(path, response.json())

    check()
