"""What every process of tests needs, whatever it runs first."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when ONNX Runtime is imported, so before all else

import pytest
from support.packed import make_a_plain_session_first


@pytest.fixture(scope="session", autouse=True)
def _plain_session_first() -> None:
    make_a_plain_session_first()
