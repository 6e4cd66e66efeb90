"""The error tree."""

import pickle

import pytest
import qwen3_client
from qwen3_client import (
    InvalidInputError,
    Qwen3ClientError,
    ServerTimeoutError,
    ServerUnavailableError,
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


def test_python_s_own_families_catch_them_too() -> None:
    assert issubclass(InvalidInputError, ValueError)
    assert issubclass(ServerTimeoutError, TimeoutError)
    assert issubclass(ServerUnavailableError, ConnectionError)
