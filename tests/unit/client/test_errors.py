"""The error tree."""

import pickle

import pytest
import qwen3_client
from qwen3_client import (
    EmptyTextError,
    InferenceError,
    InvalidInputError,
    Qwen3ClientError,
    RefusedError,
    ServerTimeoutError,
    ServerUnavailableError,
    TextTooLongError,
)

ERRORS: list[type[Qwen3ClientError]] = [
    getattr(qwen3_client, name) for name in qwen3_client.__all__ if name.endswith("Error")
]


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_is_caught_by_the_root_and_survives_a_process_boundary(
    error: type[Qwen3ClientError],
) -> None:
    original = error("no good", index=3)
    copy = pickle.loads(pickle.dumps(original))  # noqa: S301
    assert isinstance(copy, Qwen3ClientError)
    assert (type(copy), str(copy), copy.index) == (error, "text 3: no good", 3)
    assert str(error("no good")) == "no good"
    assert str(pickle.loads(pickle.dumps(error("no good", index=3, noun="pair")))) == "pair 3: no good"  # noqa: S301


def test_an_error_is_told_what_it_is_about() -> None:
    error = InferenceError("no good")
    named = error.about("document", 7)
    assert (type(named), str(named), named.noun, named.index) == (InferenceError, "document 7: no good", "document", 7)
    assert str(named.about("row", 9)) == "row 9: no good"
    assert (str(error), error.index) == ("no good", None)  # unchanged


def test_python_s_own_families_catch_them_too() -> None:
    assert issubclass(InvalidInputError, ValueError)
    assert issubclass(TextTooLongError, InvalidInputError)
    assert issubclass(EmptyTextError, InvalidInputError)
    assert not issubclass(RefusedError, ValueError)  # nothing is wrong with the call
    assert issubclass(ServerTimeoutError, TimeoutError)
    assert issubclass(ServerUnavailableError, ConnectionError)
