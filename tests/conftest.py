"""What every process of tests needs, whatever it runs first."""

import pytest
from support.packed import make_a_plain_session_first


@pytest.fixture(scope="session", autouse=True)
def _plain_session_first() -> None:
    make_a_plain_session_first()
