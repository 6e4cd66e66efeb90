"""The parameters of requests to text models."""

import pytest
from qwen3_client import InvalidInputError
from qwen3_serve.host.text_parameters import EmbeddingParameters, RerankingParameters, as_strings, read_parameters


def test_what_a_request_does_not_say_is_the_models_default() -> None:
    assert read_parameters(EmbeddingParameters, "") == EmbeddingParameters()
    assert read_parameters(EmbeddingParameters, "{}", kind="query").kind == "query"
    assert read_parameters(EmbeddingParameters, '{"kind": "document"}', kind="query").kind == "document"
    assert read_parameters(RerankingParameters, '{"truncate": false}') == RerankingParameters(truncate=False)


def test_what_tritons_front_ends_add_is_no_parameter_of_ours() -> None:
    text = '{"binary_data_output": true, "sequence_id": 0, "priority": 1, "timeout": 5, "dimensions": 64}'
    assert read_parameters(EmbeddingParameters, text) == EmbeddingParameters(dimensions=64)


@pytest.mark.parametrize(
    ("options", "text", "says"),
    [
        (
            RerankingParameters,
            '{"dimensions": 64}',
            "no parameter 'dimensions'; the parameters are instruction, truncate",
        ),
        (EmbeddingParameters, '{"kind": 1}', "kind must be 'query' or 'document', not 1"),
        (EmbeddingParameters, '{"instruction": "Find"}', "set the parameter kind to 'query'"),
    ],
)
def test_what_cannot_be_used_is_refused(options: type[object], text: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        read_parameters(options, text)


def test_bytes_are_decoded_as_utf_8() -> None:
    assert as_strings([b"Z\xc3\xbcrich", b""], noun="text") == ["Zürich", ""]
    with pytest.raises(InvalidInputError, match=r"document 1: .*byte 1"):
        as_strings([b"a", b"Z\xfcrich"], noun="document")
