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
from qwen3_client._errors import about

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
    def fail() -> None:
        with about("document", 7):
            raise InferenceError("no good")

    with pytest.raises(InferenceError, match=r"^document 7: no good$") as caught:
        fail()
    assert (caught.value.noun, caught.value.index) == ("document", 7)


def test_python_s_own_families_catch_them_too() -> None:
    assert all(issubclass(error, ValueError) for error in (InvalidInputError, EmptyTextError, TextTooLongError))
    assert not issubclass(RefusedError, ValueError)
    assert issubclass(ServerTimeoutError, TimeoutError)
    assert issubclass(ServerUnavailableError, ConnectionError)
