"""What every process of tests needs, whatever it runs first."""

import importlib.util

import pytest


@pytest.fixture(scope="session", autouse=True)
def _plain_session_first() -> None:
    if importlib.util.find_spec("onnxruntime") is not None:  # the client's tests also run without it
        from support.packed import make_a_plain_session_first

        make_a_plain_session_first()
