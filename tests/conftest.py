"""What every process of tests needs, whatever it runs first."""

import importlib.util

import pytest

if importlib.util.find_spec("hypothesis") is not None:  # some environments run only tests that do without it
    from hypothesis import HealthCheck, settings

    # Tests are about results: how long an example takes depends on what else the machine does.
    settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _plain_session_first() -> None:
    if importlib.util.find_spec("onnxruntime") is not None:  # the client's tests also run without it
        from support.packed import make_a_plain_session_first

        make_a_plain_session_first()
